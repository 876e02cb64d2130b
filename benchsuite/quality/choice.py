"""The letter or letters that an answer to a multiple-choice question states, or that it states none. Never a guess.

An answer is stripped of markup. Then places are looked for where a label must follow ("the answer is", "故选") or is
judged ("C is correct", "C项正确"). A place counts if what stands around lets the letter be nothing but a label, and if
it is not denied, asked, supposed or left open ("A or B"). The last one that counts is the answer. Every pattern is of
bounded length, so that the time is linear in the answer's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from benchsuite.errors import read_json
from benchsuite.quality.normalise import answer_of, refuses
from benchsuite.results import AnswerScore

# what is left of markup; spaces are single, and at most one line is empty between two
_CLEANING = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"<\|[^|<>\n]{1,40}\|>|</?s>|\[/?INST\]|~~[^~\n]{1,200}~~", " "),
        (r"(?i)<(?:final_?|correct_?)?(?:answer|choice|option|ans)>", " answer: "),
        (r"</?(?:b|i|u|em|strong|span|code|font|mark|sup|sub)(?: [^<>\n]{0,80})?>", ""),
        (r"</?[A-Za-z][^<>\n]{0,80}>", "\n"),
        (r"\\(?:text\w{0,8}|math\w{1,4}|mbox|bf|rm)\s?\{([^{}\n]{0,80})\}", r"\1"),
        (r"\\(?:text\w{0,8}|math\w{1,4}|mbox|bf|rm)\s?\{([^{}\n]{0,80})\}", r"\1"),
        (r"\\f?boxed\s?\{[\s{]{0,4}([(\[]?[A-Za-z]\b[^{}\n]{0,80}|[A-Z]{2,10})[\s}]{0,4}\}", r" answer: \1 "),
        (r"( answer: [A-Z]{1,10}) [ $)*]{0,4}(?=[A-Z])", r"\1; "),
        (r"\\[()\[\],;! ]|\\q?quad|\$", " "),
        (r"(?m)^[-*\s]{0,9}(?:[❌✗✘❎×]|\[ ?\]) ?(?=\S)", "not "),
        (r"(?m)^[-*\s]{0,9}(?:✅|✔|✓|☑|√|👉|➡|🔹|⭐|\[[xX]\])", ""),
        (r"[✅✔✓☑√]", " - correct; "),
        (r"[❌✗✘❎]|(?<=[A-Z])×(?!\w)", " - incorrect; "),
        (r"(\b[A-Z])\*\*(?= [A-Z])", r"\1;"),
        (r"[*`\"“”„«»「」『』]|(?<!\w)_{1,3}|_{1,3}(?!\w)|(?<!\w)'(?=\w)|(?<=\w)'(?!\w)", ""),
        ("【", "["),
        ("】", "]"),
        (r"[^\S\n]+", " "),
        (r" ?\n ?", "\n"),
        (r" (?=[.,;:!?。、](?![A-Za-z0-9]))", ""),
        (r"\A(?:Q|Question )?\d{1,3}[.:)] ", ""),
        (r"(?m)^[-•·–—+>#| ]+|^\d{1,2}[.)] ", ""),
        (r"\n{2,}", "\n\n"),
    )
)

# letters that are part of a name: "vitamin C", "hepatitis B", 维生素C, 图A; "E. coli", "B cell", B超
_KINDS = (
    r"\b(?:vitamins?|vit\.?|hepatitis|types?|groups?|grades?|plan|influenza|class|stage|factors?|points?|lead"
    r"|blood|phase"
    r"|category|schedule|level|protein|ha?emoglobin|immunoglobulin|complement|coenzyme|serotype|subtype|strain"
    r"|virus|score"
    r"|cytochrome|interferon|cyclin|pathway|chain|region|band|locus|allele|temperature|column|row|fig(?:ure"
    r"|s?\.)?|tables?)"
)
_TERM_BEFORE = re.compile(
    rf"(?i:(?:{_KINDS}|\b(?:panel|appendix|sections?|parts?|chapter|arm|cohort|patients?|case|drug|substance|enzyme|box"
    r"|dr\.?|prof\.?|professor|doctor|physician|nurse|researcher|student|teacher|expert|user|model|candidate|speaker"
    r"|person|friend|team|reviewer|hospital|trial|study))"
    r"|医生|护士|同学|学生|老师|教授|专家|病人|患者|维生素|毒素|方案|病案"
    r"|[肝图表子型组级期类酶路录株群染链苷环球白])[ -]?$"
)
_TERM_IS = re.compile(rf"(?i){_KINDS}(?: is| are|:)? ?$")
_SPECIES = (  # of genera that begin with A to J
    r"coli|difficile|diff|perfringens|botulinum|tetani|albicans|auris|glabrata|tropicalis|cereus|anthracis|subtilis"
    r"|fragilis|pertussis|henselae|quintana|abortus|melitensis|malayi|histolytica|faecalis|faecium|cloacae|granulosus"
    r"|multilocularis|vermicularis|corrodens|jejuni|trachomatis|pneumoniae|psittaci|diphtheriae|immitis|neoformans"
    r"|fumigatus|flavus|niger|lumbricoides|aegypti|hydrophila|elegans|fetus|latum|medinensis|melanogaster|tularensis"
    r"|nucleatum|hepatica|lamblia|duodenale|duodenalis|vaginalis|intestinalis|pylori|influenzae|ducreyi|braziliense"
    r"|septicum|sinensis|canis|burgdorferi|[a-z]{3,40}ii"
)
_TERM_AFTER = (
    r"(?:(?i:cells?|lymphocytes?|reactive|peptide|sections?|dimers?|virus|antigens?|antibod\w+|positive|negative|waves?"
    rf"|streptococc\w*|fibers?|receptors?|influenza|chains?|vitamins?|types?|groups?|toxins?|proteins?|{_SPECIES})\b"
    r"|型|超|肽|反应蛋白|细胞|族|组|级|期|类|淋巴|二聚体|抗原|抗体|受体|病毒|群|链|波|段|区|线|带|试验|蛋白|点"
    r"|染色|柱|肝|流感|语言)"
)

# a label where one is looked for; what may follow it; how labels are joined
_LABEL = (
    r"(?<![A-Za-z0-9°'’\-+^_])(?:(?i:options?|choices?|answers?|letters?|选项) ?:? ?)?[(\[{]{0,2} ?([A-Z]{1,12})"
    r"(?![A-Za-z0-9+°^_%]|['’-]\w| ?= ?\d)"
    r"(?: ?[)\]}](?=[)\]}\s.。,;:!?、(\[]|$|[\u3400-\u9fff])){0,2}(?: ?[两三四五]?选?项)?"
)
_ITEM = re.compile(_LABEL)
_LOWER = re.compile(r"(?:(?:option|choice|answer|letter) ?)?[(\[]?([a-z])\b(?!['’([-]|\.[a-z])[)\]]?")
_JOINER = (
    r"(?:because|since|as|due|given|based|for|with|while|whereas|rather|instead|over|so|therefore|thus|which|where|that"
    r"|but|although|though|if|unless|when|in|by|here|only|alone|too|again|then|now|according|followed|via|however"
    r"|meaning|namely|i\.e|not|option|choice|answer|and|or|is|are|was|would|must|seems?|appears?|remains|has"
    r"|can|cannot|does"
    r"|isn't|can't|doesn't|wouldn't|it|best|fits?|match(?:es)?|appl(?:y|ies)|makes?|qualif(?:y|ies)|explains?"
    r"|satisf(?:y|ies)|meets?|accounts?|works?|stands?|the)\b"
)
_CONTINUES = re.compile(
    rf"(?:$|\n|[.。](?![A-Za-z0-9]?[a-z0-9]|[A-Z]\.| ?(?:{_SPECIES})\b)|[!?,;:、)\]}}|&~→…](?!\d)"
    rf"| ?[—–](?! ?{_TERM_AFTER})| - "
    rf"| ?/ ?(?=[A-Z](?![A-Za-z+]))| ?[(\[|](?!\d)| \+ (?=[A-Z](?![A-Za-z]))| {_JOINER}| (?=[A-HJ](?:[\s.,]|$))"
    r"| ?(?:因|由|吧|了|呀|啊|哦|嘛|这|合(?=[适理题])|恰|正确|最|才|而|不|更|较|是|为|错|和|与|或|及"
    r"|符|当|均|都|也|属|其[余他]|如果|若|易|注意|有的|对于|对(?![应于比照症人患此])|还是|的(?:说法|描述|表述"
    r"|叙述|内容)))"
)
_TEXT = re.compile(rf" (?!{_TERM_AFTER})(?:[A-Z][a-z]|[\u3400-\u9fff])")
_FILLER = re.compile(
    r"(?:\[?(?:(?i:options?|choices?|answers?|letters?|only|just|both|the|therefore|clearly|definitely|likely"
    r"|most likely|probably|actually|still|indeed|in fact|obviously|simply)\b"
    r"|选项|答案|就是|只有|应该?[是为选]?|是|为|选)[,:]?\]? ?){0,4}"
)
_AND = re.compile(
    r"[.)]?(?: ?(?:,|、|/|&|\+|\|(?=[A-Z])|\n(?=\W{0,2}[A-Z]\W{0,2}(?:\n|$))|(?i:\band\b)|以及|还有|和|与|及"
    r"|;(?= ?\(?[A-Z]\)?(?:[;.。\n]|$))| \+)(?: ?(?:\n|(?i:and\b)|以及|和|与|及))? ?)"
    r"| (?=[A-Z](?![A-Za-z0-9]))|(?=[(\[][A-Z][)\]])"
)
_PERHAPS = r"(?i:(?:possibly|perhaps|maybe|even|also|either|could be|might be|may be) )"
_OR = re.compile(
    rf"[.)、]? ?[,(]? ?(?:(?i:or|vs\.?|versus|to|through|nor)\b ?{_PERHAPS}{{0,2}}|(?i:(?:but|and) ){_PERHAPS}{{1,2}}"
    rf"|或者?是?|还是|也?可能是?|[-~～–—到至](?! )) ?选? ?{_LABEL}| [-~–—] {_LABEL}(?=\W{{0,3}}(?:\n|$))"
)
_LEFT_OPEN = re.compile(r"(?i)\bor\b|或|还是|可能")
_PLURAL = re.compile(r" (?:are|were|both|all)\b| ?[都均]|(?: ?[两三四五]?[选]?项)?[都均]")
_MORE = re.compile(
    r"[.):、] ?([^.。;()\n]{1,60}?)[ ,;、和及与]{1,3}(?:and )?\(?(?<![A-Za-z0-9])([A-Z])"
    r"(?=[.):、] ?[^\s.。A-Za-z]|[.):、] [A-Za-z])"
)
_MORE_LINES = re.compile(r"[.):、] ?([^\n]{1,120})\n\(?([A-Z])(?=[.):、])")
_JUDGED = re.compile(
    r"(?i)\b(?:not|wrong|incorrect|because|true|false|correct|right|yes|no|is|are|was|than|if|but|go"
    r"|choose|best|option|answer)\b|n't\b|[错不对选是]|正确|因为"
)

# what is said of a label before it
_VERB = r"(?:is|are|'s|was|were|seems?|looks?|appears?|remains?|(?:must|would|should|has to|can|could|may|might) be)"
_DENIES = re.compile(
    rf" ?(?:(?i:[,:]? ?{_VERB}(?:n't| not| never| \w{{1,20}}ly| also| both| all| still| the| a| an| out| less){{0,3}}"
    r"(?:(?<= not)|(?<=n't)|(?<= less)|(?<= never)|(?<= out)| (?:incorrect|wrong|false|inappropriate|unlikely|excluded"
    r"|eliminated|ruled|contraindicated|inaccurate|irrelevant|unrelated|unsuitable|impossible|implausible|worse|invalid"
    r"|distractors?|insufficient|mistakes?|errors?)\b)|(?:does|do|did|would|could|should)(?:n't| not)\b"
    r"|can(?:not|'t| not)\b"
    r"|[.:–—|-]? ?\(?(?:incorrect|wrong|false|no|not correct|错误?|不正确|不对)(?= ?(?:$|[.,;!)\n。|—-]|:"
    r"(?! ?\(?[A-Z]\b))))"
    r"|的?(?:说法|描述|表述|叙述|内容|观点)?(?:是|为|也|都|均|则|明显|显然|完全|肯定|属于?|就){0,3}"
    r"(?:错|不(?!选|应选|考虑|是 ?[A-Z])|有误|误|非|无|被?排除|未|干扰)|,(?:错误|不对|不正确|有误)(?=[,。;\n!]|$))"
)
_AFFIRMS = (
    rf"(?: ?[,:]? ?(?i:{_VERB}(?: the| a| an| most| also| both| all| fully| entirely| completely| clearly"
    rf"| definitely| therefore| thus| more| indeed"
    r"| to be| our| my| only| then| actually| obviously| certainly| single| overall| still|,){0,4} "
    r"(?:correct|right|true|accurate|appropriate|suitable|answers?|closest|best|one"
    r"|(?<=most )likely|(?<=more )likely|(?<=most )probable)\b(?!-| avoided| reserved| known| that)"
    r"(?!,? (?:\w{1,20} ){0,2}?(?:for|in|if|when|only|but|unless|as an?|of|than|to|except|apart|about|regarding"
    r"|at first)\b"
    r"(?! (?:this|the|our|these|here|my|all)\b)))"
    r"|(?i:,? (?:best (?:fits?|match(?:es)?|describes?|explains?|answers?)|(?:fits?|match(?:es)?|applies|apply) best"
    r"|makes? (?:the )?most sense|stands? out"
    r"|is what I(?:'d| would) (?:choose|pick|select|go with)|the (?:correct|right|best|only) (?:answer|choice|option)"
    r"|(?:applies|apply|qualif(?:y|ies))(?= ?(?:$|[.,;\n])))\b)"
    r"| ?,?的?(?:说法|描述|表述|叙述|内容)?(?:是|为|才|也|都|均|完全|就|本题|此题|这道题|最|更|较|的|属){0,4}"
    r"(?:正确(?!率|的(?:说法|描述|做法|应))|对(?=$|[的,。;\n!)、])|符合(?!率)|恰当|合适|最佳|最优|准确|合题意"
    r"|答案|当选|可能性最大)(?!吗|[,;]?(?:但|不过|却|只是|然而)))"
)
_YES = r"\(?(?i:\b(?:correct|right|yes|true)\b|正确|对)(?= ?(?:$|[.,;:!)\n。|—-]))"
_AFFIRMED = re.compile(rf"{_AFFIRMS}|(?i: it is\b| for sure\b)|(?: ?[.:–—|-])? ?{_YES}")
_TEXT_DENIED = re.compile(
    r"(?:[.:]|(?<=\))) ?[^.。;,\n]{1,60}?(?: ?[:–—|]| -| \() ?\(?(?i:incorrect|wrong|false|no|错误?|不正确|不对)"
    r"(?= ?(?:$|[.,;:!)\n。|—-]))"
)
_TEXT_AFFIRMED = re.compile(  # behind the text of the option
    r"(?:[.:,]|(?<=\))| (?=\()) ?"
    rf"(?:(?P<text>(?:[A-Z(\u3400-\u9fff]|(?<=[,:)] )[a-z])[^.。;,\n]{{0,60}}?){_AFFIRMS}"
    rf"|[^.。;,\n]{{1,60}}?(?: ?[:–—|]| -| \() ?{_YES})"
)
_SETTLED = re.compile(
    r"(?i)[^\n]{0,62}?\b(?:is|are|'s) (?:(?:clearly|therefore|thus|definitely) )?(?:the|our|my) "
    r"(?:(?:single |only )?(?:correct|right|best|final) )?(?:answers?|choice|option)\b|.{0,40}?(?:本题|正确|的)答案"
)
_MAY_STAND = re.compile(
    r"(?i)(?:^|[.。,;:!?\n、()\[\]—|-]|\b(?:so|thus|therefore|hence|that|and|or|but|only|both|think|believe|say"
    r"|because|then"
    r"|overall|while|whereas|although|reflection|makes|making)"
    r"|所以|因此|[故而但则见有中和与及或案述题仅项此外]|认为|觉得) ?$"
)

# what announces a label. 5: a correction; 4: a statement of the answer; 3: another one; 2: one behind "so", "probably"
# and the like; 1: a weak one, which counts where no other stands
_NOUN = r"(?:answers?|options?|choices?|selections?|responses?|picks?|ans|verdict|key)"
_WORD = r"(?!(?:whose|whether|if|that|who|which|when|where|than|is|are|not|cannot|never)\b)[^\s.,;:!?]{1,30}"
_IS = (
    r"(?:(?:is|are|'s|would be|should be|must be|will be|has to be|have to be|can only be|seems to be|appears to be"
    r"|would have to be|remains)\b ?:?|[是为:]|=>?|->|→|—|–| ?- |,(?= is\b)|\])"
)
_RIGHT = (
    r"(?:correct|right|best|exception|most (?:likely|appropriate|probable|suitable|accurate|plausible|consistent)"
    r"|closest|final|proper|accurate)"
)
_SELF = (
    r"(?:\b(?:I|we|let's|let me|let us)(?:'d|'ll|'m|'ve| am| would| will| shall| have to| must| should| do| can)?"
    r"(?: (?:\w{1,20}ly|also|still|now|then|rather|have|to|thus|so)){0,2} "
    r"|(?:^|[.!\n:;,]) ?(?:so|therefore|thus|hence|and|then)?,? ?(?:please )?)"
)
_CUES = tuple(
    (sure, re.compile(pattern))
    for sure, pattern in (
        (3, rf"(?i:\b(?:{_RIGHT} )?{_NOUN}(?:\(s\)| \d{{1,3}})?"
            rf"(?:[ _](?:choice|option|letter|key|here|s|selected|chosen|number|no\.?)\b)?"
            rf"(?: (?:to|for|of|in|here|among|from|based|given)\b(?: {_WORD}){{0,14}})?"
            rf"(?:,? (?:therefore|thus|then),?)? ?(?:\n{{1,2}}|{_IS})[\s:]{{0,2}})"),
        (3, rf"(?i:\b{_RIGHT}(?: {_WORD}){{0,6}} ?{_IS}[\s:]{{0,2}})"),
        (3, r"(?i:\b(?:solution|result|conclusion|letter|label|prediction|output|selected|assistant): )"),
        (3, r"(?i:\bcorrect ?(?:answers?|options?|choices?)? )(?=[(\[])"),
        (1, r"(?i:\banswers? )(?=\(?[A-Z]\b)"),
        (3, r"(?i:\bans[.:) -]{1,3})"),
        (3, rf"(?i:{_SELF}(?:choose|chose|select|selected|pick|picked|go (?:with|for)|opt for|answer|say|mean|meant"
            r"|lean towards?|settle (?:on|for)|vote(?: for)?|stick with|mark|tick|circle|guess|conclude|think|believe"
            r"|feel|suspect)(?: that)?(?: it| this| that| the answer)?"
            r"(?:'s| is| must be| should be| would be)? )"),
        (2, r"(?i:\b(?:therefore|thus|hence|so|in conclusion|conclusion|overall|finally|to conclude|in summary"
            r"|by (?:process of )?elimination|consequently|ultimately|accordingly|definitely|probably"
            r"|most likely|clearly|certainly|obviously)"
            r"\b[,:]? ?(?:(?:it|this|that|the answer|we)"
            r"(?:'s| is| must be| should be| would be| has to be| get| have| leaves| leaves us with)? ?)?)"),
        (2, r"(?i:\b(?:correction|corrected|revised|updated|edit|actually|no,? wait|no(?!:)|wait|sorry)\b[,:]? ?"
            r"(?:(?:it|that|this)(?:'s| is| should be| must be) )?)"),
        (5, r"(?i:\b(?:chang|switch|revis|updat|correct|amend)(?:e|ed|ing)?\b"
            r"(?: (?:it|this|that|my|the|final|answer|response|choice|selection)){0,4}(?: from [A-Z])? to )"),
        (5, r"(?i:\b(?:not|isn't) (?:option )?)\(?[A-Z]\)?[,;]? ?(?i:but(?: rather)?|it's|it is|rather) "),
        (1, r"(?i:\b(?:it|this|that|which|one)(?:'s| is| must be| should be| would be| has to be| can only be)\b ?)"),
        (3, r"(?i:\b(?:I|we)(?:'m|'re| am| are) (?:\w{1,20}ly )?(?:choosing|selecting|picking|settling (?:on|for)"
            r"|opting for|going (?:with|for)|leaning towards?|sticking with|inclined to say"
            r"|confident (?:in|about)|sure (?:of|about))(?: that)? )"),
        (3, r"(?i:\b(?:I|we)(?:'d|'ll| would| will)? (?:\w{1,20}ly )?(?:recommend|suggest|favou?r|prefer|advise) )"),
        (5, r"(?i:\bchanged my mind\b[:,]? ?(?:to |it's |it is )?)"),
        (2, r"(?i:\bonly )(?=(?:(?i:option|choice) )?\(?[A-Z]\)? (?i:fits?|explains?|match(?:es)?"
            r"|satisf(?:y|ies)|meets?"
            r"|accounts?|works?|makes sense|qualif(?:y|ies)|remains?|is (?:consistent|compatible|left|possible))\b)"),
        (1, r"(?i:\b(?:leav(?:es|ing)(?: us| me| you)?(?: with)?|left with)\b ?)"),
        (1, r"(?i:\b(?:corresponds? to|match(?:es)?|points? to|supports?|consistent with|indicates?"
            r"|i\.e\.?,?|namely)(?: the)? )"
            r"(?=(?i:options?|choices?|answers?)\b|\()"),
        (3, r"(?:答案|正解)(?:选项|编号|字母)?(?: is )?(?:应该|应当|应|就|便|即|则|也|还|仍|只能|必须|最终|我|可能|显然"
            r"|自然|确定|更可能|很可能|大概率){0,4}"
            r"(?:选择|[是为即:=\]\n]|选(?!项)|定为| ){0,4}"),
        (3, r"(?<![不误])正确的?(?:选项|选择|说法|项|结论|做法|诊断|描述|一项|表述|叙述)?的?"
            r"(?:应该|应|就|只有|仅)?(?:[是为有:]|包括|包含):?(?:选项)?[:\s]{0,3}"),
        (3, r"最(?:佳|可能|合适|恰当|准确|符合|适宜|适合|合理|优)的?[^,。;:!?\n是为]{0,12}[是为:] ?"),
        (3, r"(?<![首次可备所候挑筛任待入多单误错不勿别优])选(?!项)(?:择|取|了|定|的是|出|答案|:|是|为){0,3}[ \n]?"),
        (2, r"(?:所以|因此|因而|故|综上(?:所述|可知|分析)?|总之|由此(?:可见|可知)?|可见|于是|那么|最终|最后|结论)"
            r"[,:]? ?(?:本题|此题|这道?题)?(?:应该|应|就|只能|只有|最终|只剩下?|剩下){0,3}(?:是|为|定为|确定为)? ?"),
        (3, r"(?:我的|最终的?)(?:判断|选择|结论|决定)[是为:] ?"
            r"|(?<!不)(?:符合题意|符合要求|符合条件)的(?:选项|一项)?[是为:] ?"),
        (5, r"(?:而应?该?[是为选]|其实应?该?[是为选]|应[为是]|应该[是为]|(?:更正|修正|纠正|更改|订正|修改|改|变更)"
            r"(?:答案|选择)?[为选成:]{1,2}) ?"),
        (5, r"不是? ?[A-Z] ?[项选]{0,2}[,;]? ?(?:而|应该?)?是 ?"),
        (3, r"(?:我|笔者|个人)(?:认为|觉得|判断|倾向于?|推测|猜测?|确定|想|会|选|决定)[,:]?(?:正确的?|最终)?"
            r"(?:答案|应该|应|可能|大概|最可能|是|为|选(?!项)择?){0,3} ?"),
        (3, r"(?:^|\n)(?:答|解答|回答|解|判断|单选题?)[:.] ?[选是]? ?"),
        (2, r"(?:只能|一定|必然|肯定|必须|确定)[是选为] ?"),
        (1, r"(?:剩下的?|只有|只剩|就是|对应的?是?|属于|即) ?(?:选项)? ?"),
    )
)  # fmt: skip
_OTHERS = re.compile(  # what stands before a cue whose answer is not this answer's, or not its last
    r"(?i)\b(?:one|another|an?|possible|wrong|incorrect|least|worst|second|third|next|alternative|other|your|previous"
    r"|earlier|first|initial|distractor|their|his|her|user's|student's|students|plausible|tempting|provided|suggested"
    r"|proposed|original|common|either|no|none|two|three|four|following|each|any|every"
    r"|official|textbook|online|published|opposite|contrary|guess|(?!(?:it|that|here|let|there|what"
    r"|today)'s)\w{1,20}'s)"
    r" (?:\w{1,20} ){0,2}$|\d ?%[^.。,;:\n]{0,12}$"
    r"|(?:^|\n)(?:doctor|patient|nurse|student|teacher|user|pharmacist|医生|患者|护士|学生|老师|用户) ?\w?: ?$"
    r"|[A-Z][)\]]?(?: ?选?项)?,? ?(?:或者?|还是|(?i:\bor)) ?$"
    r"|(?:错误|备选|候选|干扰|之前|原来|初步|最初|两个|学生|以下|下列|可能|哪个|哪项|误|网上|网友|官方|课本|教材|书上"
    r"|[他她你]们?|小[\u3400-\u9fff]|别人|人家|医生|护士|老师|专家|同桌)的?\w?$"
)
_NAMES_ANSWER = re.compile(r"(?i)answer|\bans\b|final|答案|正解")
_NARROW = re.compile(  # of another question than the one that was asked
    r"(?i)^\W*(?:(?:but|and|however|also|note that),? ?)?(?:for|in|with|among|during) (?!this|the|that|our|these|all|my"
    r"|conclusion|summary|short|light|view|general|sum|fact|order|brief|addition|both|such|each|terms)"
    r"|对于|有的|部分|某些|教材|版本|拓展|变式"
)
_NARROW_CUE = re.compile(
    r"(?i) to (?:an?|another|part|the (?:first|second|third|next|other|last|previous|similar))\b"
    r"| (?:for|in|among) (?!this|the|that|our|these|all|me|my|your|his|her|question|q)\w"
)
_SPLIT = re.compile(  # "A in children and B in adults", "A and to part 2 is C"
    r"(?i)[)\]]?,? (?:(?:in|for|with|among|during|to|at) [^.。\n]{1,60}?)?[,;]? ?(?:\b(?:and|but|while|whereas) "
    r"|(?<=[,;] ))"
    r"(?:(?:in|for|with|to) [^.。\n]{1,40}? )?(?:is )?(?-i:\(?[A-Z]\)?)(?: (?:in|for|with|among|during|to|at)\b"
    r"|[.;\n]|$)"
)
_PERSON = re.compile(r"[人生张李王三四]$")
_CHOOSES = re.compile(
    r"(?:^|[故应该当就则题我会们要得而终综上后能好仍是还于议接可以改请荐么便述析知见案此,:：\s)\]])$|^\W*[A-Z]"
)
_DENIED = re.compile(
    r"(?i)\b(?:not|never|neither|cannot|nor|hardly|doubt|without|except|no longer)\b|n't\b"
    r"|[没未非别勿无]|不(?!如)|与其|除[了去]|排除|(?i:\b(?:all|\w{3,5}thing|options) but\b)"
)
_SUPPOSED = re.compile(
    r"(?i)\b(?:initially|at first|first thought|first glance|tempt\w+|mistake\w*|commonly|often|some|students?|many|why"
    r"|people|others|suppose|assum\w+|might|could|may|whether|had|were|previously|originally|earlier|thought|used to"
    r"|instead of|rather than|would have|confus\w+|(?:was|were) (?:going|about|inclined)|almost|nearly)\b"
    r"|\b(?:says|claims?|claimed|believes|believed|thinks|argues|argued|insists|states|said|according to"
    r"|per cent|percent)\b"
    r"|凭什么|怎么|据说|有人|很多|许多|有些|同学|考生|容易|误|起初|最初|一开始|本来|原以为|为什么|为何|是否|曾|可能会"
)
_IF = re.compile(r"(?i)\b(?:if(?! I (?:had|have|must)\b)|unless|whether)\b|如果|假如|假设|[若]|除非|的话")
_ATTRIBUTED = re.compile(
    r"(?i)\baccording to (?:[a-z]+|(?-i:[A-Z][a-z]+)),|\bmyth\b|\b(?:people|everyone|everybody|students) (?:say"
    r"|think|believe|choose|pick)\b"
    r"|以前|旧版|(?<![我们者人上此述析合而故以且也来,。\n])(?:认为|觉得)"
)
_ALTHOUGH = re.compile(r"(?i)\W*(?:(?:while|(?:even )?though|although)\b|虽|尽管)")
_CLAUSE = re.compile(
    r"[.。,;:!?\n…]|(?i:(?<!all )(?<!thing )(?<!options )\bbut\b|\b(?:however|yet|so|therefore|thus|hence|because)\b)"
    r"|[故而但却]|所以|因此|那么|于是|应当?该?(?=选)|综上"
)
_SENTENCE = re.compile(r"[.。;!?\n…]")
_TURNS = re.compile(  # what comes after takes back what was said before
    r"(?i)\b(?:wait|actually|hmm+|correction|on second thoughts?|let me (?:re|double|check|think)|looking again|sorry"
    r"|reconsider\w*|re-?(?:read|check|evaluat|examin|think|assess)\w*|apologi[sz]e|mistaken?|I was wrong|revis\w+"
    r"|correct (?:myself|this|that|my)|edit:|no,|oops|scratch that)|等等|等一下|更正|重新|抱歉|修正|再想"
    r"|仔细一?想|再看|不对[,。!]|纠正"
    r"|说错|写错|搞错|更改|改为|改选"
)
_DOUBTS = re.compile(  # an answer that says so and then names no other is open again
    r"(?i)\b(?:wait|hmm+|oops)\b ?[,.!…—-]|\bon second thoughts?|\breconsider|\bnot (?:so |entirely )?sure"
    r"|\bscratch that|(?:(?:^|[.!\n] ?)(?:(?:actually|but|no|however),? )?(?:that|this)"
    r"|\b(?:the above(?: answer)?|my (?:previous |first )?answer))"
    r"(?:'s| is| was)(?: \w{1,20}ly)? "
    r"(?:not (?:right|correct)|wrong|incorrect|mistaken)\b"
    r"|\b(?:is|are)(?: \w{2,8}){0,2} none of (?:these|those|them|the (?:above|options))\b|以上[都均]不[对正]"
    r"|\bI made an? (?:mistake|error)|\bactually, no\b"
    r"|(?:^|[,。.!\n] ?)(?:correction|更正|不对|on second thoughts?)[,:]?\s*$"
    r"|说错了|等等,|等一下|重新(?:考虑|分析|审题|判断)"
    r"|不太?确定|(?:上面|上述|前面|刚才|之前)的?(?:答案|选择|判断)?是?(?:不对|错|有误|不正确)"
    r"|(?:^|[,。!\n])(?:不对|错了|说错了)[,。!]"
)
_NEXT_ITEM = re.compile(
    r"(?i)\n(?:human|user|instruction|input) ?:|\n(?:next |new )?question ?\d{0,3} ?[:.]|\nQ ?\d{0,3}[:.]"
    r"|\n(?:题目|问题|例题?|下一题) ?\d{0,3}[:.]"
)
_ALSO = re.compile(r" (?:also|too|as well)\b|也")
_INVERTED = re.compile(  # a question after what is wrong: "A is correct" says nothing of the answer
    r"\b(?:EXCEPT|NOT|LEAST|FALSE|INCORRECT)\b|\b[Ee]xcept[:?]|\bincorrect\b|错误的|不正确|不属于|不包括|除外"
    r"|不符合|有误的"
)
_PARTS = re.compile(
    r"(?i)(?:\b(?:Q|question|part|blank) ?|第)([1-9一二三四])(?:问|空"
    r"|小?题)?(?: is)? ?[:.：)选为是]{1,3} ?\(?(?-i:([A-E]))(?![A-Za-z])"
)
_YES_MARK = r"√|✓|✔|✅|☑|\[[xX]\]|(?i:(?:correct|right|true|yes)\b)|正确|对"
_NO_MARK = r"×|❌|✗|✘|❎|\[ ?\]|(?i:(?:incorrect|wrong|false|no|not correct)\b)|错误?|不正确|不对"
_MARKED = re.compile(
    rf"[-+*\s]{{0,9}}(?:({_YES_MARK})|({_NO_MARK}))?\ufe0f?[*\s]{{0,4}}(?i:option "
    rf"|选项)?\(?([A-Z])(?![A-Za-z])\)?项?[* .:、-]{{0,5}}"
    rf"(?:({_YES_MARK})|({_NO_MARK}))?\ufe0f?[*\s,;.。、|]{{0,9}}"
)
_HEAD = re.compile(
    r"(?im)^(?:(?:option|choice|选项) ?)?[(\[]?(?-i:([A-Z]))(?:[)\]](?= |$|[.:\u3400-\u9fff])| ?[.:、,](?![0-9a-z,-])"
    r"| - | ?[—–](?!\w)| (?=\((?!or |and |或|和)[^()\n]{2,80}\)[.。]?$)|$)"
)
_INLINE = re.compile(r"[\s,;、]\(?([A-Z])(?:[.):]|、(?!\(?[A-Z]))(?![0-9])(?= ?\S)")
_CUES_IN_TRADITIONAL = str.maketrans(
    "選項為對錯應該當題會說釋結論擇綜誤確認覺顯雖開從這還卻於無變適順據擬維圖級類細體區帶點",
    "选项为对错应该当题会说释结论择综误确认觉显虽开从这还却于无变适顺据拟维图级类细体区带点",
)
_KEYS = re.compile(
    r"(?:(?:my|your|the|model|final|correct|right|best|selected|chosen|predicted)?_?"
    r"(?:answers?|choices?|options?|selection|prediction|ans)(?:_(?:letter|choice|option|key|label))?|letter|label"
    r"|(?:最终|正确)?(?:答案|选项|选择))"
)


class Statement(NamedTuple):
    """Where labels are named. labels: as stated, "" if they are left open ("A or B").

    sure: 5 to 1, as of the cue; 0 where the answer is to a narrower question ("in children, choose B").
    """

    start: int
    end: int
    labels: str
    sure: int


def choice(answer: str, reference: Any, options: Mapping[str, Any], prompt_text: str) -> AnswerScore:
    """1 if the one label that the answer states is the reference's, else 0. how: bare, stated, leading, last_line; or
    why there is no reading: unread, refused, empty, cut_thinking. Two labels, or one not among the options, are unread.
    """
    reading, how = read_labels(answer, _labels(options), False, prompt_text)
    return AnswerScore(float(reading == str(reference).strip().upper()), reading, how)


def choices(answer: str, reference: Any, options: Mapping[str, Any], prompt_text: str) -> AnswerScore:
    """1 if the labels that the answer states are just the reference's, else 0, or with `partial = "jaccard"` the shared
    labels over all that either has. how: as of `choice`; a single label is a set of one.
    """
    reading, how = read_labels(answer, _labels(options), True, prompt_text)
    right, read = set(_reference(reference)), set(reading)
    score = len(right & read) / len(right | read) if options.get("partial") == "jaccard" else float(right == read)
    return AnswerScore(score, reading, how)


def check_choice(reference: Any, options: Mapping[str, Any]) -> None:
    """ValueError, in words, if the reference is not one of the labels, or an option is unknown."""
    _check(options, {"name", "labels"})
    if not isinstance(reference, str) or reference.strip().upper() not in tuple(_labels(options)):
        raise ValueError(f"reference is {reference!r}; expected one of the labels {_labels(options)}")


def check_choices(reference: Any, options: Mapping[str, Any]) -> None:
    """ValueError, in words, if the reference is no set of the labels ("ACD" or a list), or an option is unknown."""
    _check(options, {"name", "labels", "partial"})
    if options.get("partial") not in (None, "jaccard"):
        raise ValueError(f'partial is {options["partial"]!r}; expected "jaccard", or none')
    labels = _reference(reference)
    if not labels or len(set(labels)) < len(labels) or not set(labels) <= set(_labels(options)):
        raise ValueError(f'reference is {reference!r}; expected labels of {_labels(options)}, as "ACD" or a list')


def _reference(reference: Any) -> list[str]:
    parts = reference if isinstance(reference, (list, tuple)) else re.sub(r"[\s,;、]", "", str(reference))
    return [str(part).strip().upper() for part in parts]


def _labels(options: Mapping[str, Any]) -> str:
    """The labels that an answer may give: `labels` are they themselves, or how many from A on; A to E without it."""
    given = options.get("labels", "ABCDE")
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:given] if isinstance(given, int) else str(given).upper()


def _check(options: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(options) - known):
        raise ValueError(f"option {unknown[0]!r} is unknown; expected {', '.join(sorted(known - {'name'}))}")
    given = options.get("labels", "ABCDE")
    whole = isinstance(given, int) and not isinstance(given, bool) and 2 <= given <= 26
    if not whole and not (
        isinstance(given, str) and re.fullmatch("[A-Za-z]{2,26}", given) and len(set(given.upper())) == len(given)
    ):
        raise ValueError(f'labels is {given!r}; expected the letters, such as "ABCDE", or how many from A on, 2 to 26')


def read_labels(answer: str, labels: str, several: bool, prompt_text: str = "") -> tuple[str, str]:
    """The labels that the answer states, in the order of the alphabet, and the tier that read them; or "" and why."""
    answer, reason = answer_of(answer)
    if reason:
        return "", reason
    text = answer
    found = _json(text, several) or _marked(text, several, prompt_text)
    parts = [(match[1], match[2]) for match in _PARTS.finditer(text)]
    if len(dict(parts)) > 1 and len({label for _, label in parts}) > 1:  # "Q1: A, Q2: B"
        found = "", "unread"
    if found is None:
        text = text.translate(_CUES_IN_TRADITIONAL)
        for pattern, put in _CLEANING:
            text = pattern.sub(put, text)
        text = text.strip()
        found = _tiers(text, labels, several, prompt_text)
    read, how = found
    if read and set(read) <= set(labels) and (several or len(read) == 1):
        return "".join(sorted(read)), how
    return "", "refused" if refuses(answer) else "unread"


def _marked(text: str, several: bool, prompt_text: str) -> tuple[str, str] | None:
    """What a list of nothing but labels, each marked right or wrong, states, and the tier; None of others."""
    at, right, seen = 0, "", ""
    while at < len(text):
        match = _MARKED.match(text, at)
        if match is None or bool(match[1] or match[4]) == bool(match[2] or match[5]) or match[3] in seen:
            return None
        at, seen, right = match.end(), seen + match[3], right + match[3] * bool(match[1] or match[4])
    if len(seen) < 2 and right:
        return None
    return ("", "unread") if _INVERTED.search(prompt_text) or not (several or len(right) == 1) else (right, "stated")


def _tiers(text: str, labels: str, several: bool, prompt_text: str) -> tuple[str, str]:
    """What cleaned text states, by the first tier that has a reading, and the tier."""
    cut = _NEXT_ITEM.search(text)  # a model that goes on with questions of its own
    if cut and (found := _tiers(text[: cut.start()], labels, several, prompt_text))[0]:
        return found
    if bare := _bare(text, several):
        return bare, "bare"
    leading = _leading(text, labels, several)
    stated = _stated(text, labels, several, prompt_text)
    last = _last_line(text, several)
    if stated is None:
        return (leading, "leading") if leading else (last, "last_line")
    if last and stated.labels and sorted(last) != sorted(stated.labels):  # "Answer: A ... so it cannot be. C"
        return (last, "last_line") if _TURNS.search(text, stated.end) else ("", "unread")
    # "B. Metformin. ... In children C is correct.": a weak statement does not outweigh what the answer begins with
    if leading and stated.sure < 2 and sorted(leading) != sorted(stated.labels):
        return "", "unread"
    return stated.labels, "stated"


def _bare(text: str, several: bool) -> str:
    """The labels of a text of nothing else; "" of any other."""
    if len(text) > 60 or text[-1:] == "?":
        return ""
    core = re.sub(r"^[\W_]+|[\W_]+$", "", text)
    if match := re.fullmatch(r"(?:(?i:option|choice|answer) |选项|是|选)?\(?([A-Za-z])\)?(?: ?选?项)?吧?", core):
        return match[1].upper()
    names = re.sub(r"(?i)\b(?:and|both)\b|[\s,;、/&+().\[\]和与及]", "", core)
    listed = re.fullmatch(r"[A-Z]{2,26}", names) and (
        _ascending(names) if names == core else len(set(names)) == len(names)
    )
    return names if several and listed else ""


def _ascending(names: str) -> bool:
    return names == "".join(sorted(set(names)))


def _stands(text: str, item: re.Match[str]) -> bool:
    """True if what follows lets the letters of an item be nothing else than labels."""
    names, end = item[1], item.end()
    if not _ascending(names) or text[end : end + 1] == "?":
        return False
    if item[0][-1] in ")]}项":
        return True
    if names == "I" and not re.compile(r"[.。,;:!、\n]|$| (?:is|because|since|as)\b").match(text, end):
        return False
    return bool(_CONTINUES.match(text, end) or (names not in ("A", "I") and len(names) == 1 and _TEXT.match(text, end)))


def _group(text: str, start: int, subject: bool, labels: str, several: bool) -> tuple[str, int] | None:
    """The labels that stand at `start`, "" if they are left open, and where they end; None if no label does.

    subject: what follows is said of all of them. Else a last one of which something is said begins a new clause.
    """
    item = _ITEM.match(text, start)
    if item is None or not _stands(text, item):
        return None
    names, end, listed = item[1], item.end(), None
    while True:
        if len(names) > 52:  # no answer, and the time stays linear
            return "", end
        other = _OR.match(text, end)
        if (
            other
            and _ascending(other[1] or other[2])
            and (other[2] or _stands(text, other) or _LEFT_OPEN.search(other[0]))
        ):
            return "", other.end()
        joined = _AND.match(text, end)
        item = _ITEM.match(text, joined.end()) if joined else None
        if item is None or joined is None:
            break
        if not _stands(text, item):  # "A, C" runs into what follows, so that nobody can tell where the labels end
            if (several or "," not in joined[0]) and item[1] not in ("A", "I") and set(item[1]) <= set(labels):
                return "", item.end()
            break
        if joined and "," in joined[0]:
            listed = (names, end)
        plural = _PLURAL.match(text, item.end()) and _AFFIRMED.match(text, item.end())  # "I think B and D are correct"
        if not (subject or plural) and (
            _DENIES.match(text, item.end())
            or _AFFIRMED.match(text, item.end())
            or text[item.end() : item.end() + 1] == ":"
        ):
            if len(names) > 1:  # "A, B and C are wrong": is A all that was stated, or A and B?
                return listed if listed and joined and not joined[0].isascii() else ("", item.end())
            break
        names, end = names + item[1], item.end()
    if len(names) == 1:  # with their texts: "A. hypertension C. diabetes"
        last, at = names, end - (text[end - 1] in ")]")
        while more := _MORE.match(text, at) or _MORE_LINES.match(text, at):
            if (
                _JUDGED.search(more[1])
                or _TERM_BEFORE.search(text[more.start(2) - 16 : more.start(2)])
                or more[2] <= last[-1]
            ):
                break
            last, at = last + more[2], more.end()
        if len(last) > 1:
            if last == labels[: len(last)] and (not several or len(last) == len(labels)):
                return None  # the options again
            names, end = last, at
    return "".join(dict.fromkeys(names)), end


def _clause(text: str, at: int, edges: re.Pattern[str]) -> str:
    """What stands before a place, back to the last of the edges, 160 characters at most."""
    window = text[max(0, at - 160) : at]
    return window[max((match.end() for match in edges.finditer(window)), default=0) :]


def _holds(text: str, start: int, end: int) -> bool:
    """True if what is said from start to end is neither denied, supposed, conditional nor asked."""
    clause, sentence = _clause(text, start, _CLAUSE), _clause(text, start, _SENTENCE)
    if _ATTRIBUTED.search(sentence):
        return False
    if clause == sentence and _ALTHOUGH.match(clause):
        return False
    if _DENIED.search(clause) or _SUPPOSED.search(clause) or _IF.search(sentence):
        return False
    if re.compile(
        r",? ?[(\[]?(?:only )?(?:if|unless|when)\b|,? ?(?:如果|若)|的话|的?(?:同学|人)|,? (?:said|says|according to)\b"
        r"| is (?:what|the answer) (?:most|many|some|people|they|he|she)\b",
        re.I,
    ).match(text, end):
        return False
    stop = _SENTENCE.search(text, end, end + 160)
    return stop is None or stop[0] != "?"


def _cued(text: str, labels: str, several: bool) -> Iterator[Statement]:
    """Labels after a cue."""
    for kind, cue in _CUES:
        for match in cue.finditer(text):
            sure, start, at = kind, match.start(), match.end()
            filler = _FILLER.match(text, at)
            at = filler.end() if filler else at
            group = _group(text, at, sure < 3, labels, several)
            if group is None and sure > 2:
                group = _lower(text, at) or _doubtful(text, at)
            if group is None or _DENIES.match(text, group[1]) or not _holds(text, start, group[1]):
                continue
            if _OTHERS.search(text[max(0, start - 60) : start]) or _TERM_BEFORE.search(text[max(0, at - 16) : at]):
                continue
            if re.match(r"(?i)(?:options|choices)\W", match[0]) or _TERM_IS.search(match[0]):
                continue
            if _SPLIT.match(text, group[1]):
                group = "", group[1]
            if sure == 3 and _NAMES_ANSWER.search(match[0]):
                sure = 5 if re.search("(?i)final|最终", match[0]) else 4
            narrow = _NARROW.search(_clause(text, start, _SENTENCE)) or _NARROW_CUE.search(match[0])
            if match[0][0] == "选" and _PERSON.search(text[max(0, start - 4) : start]):
                continue
            if narrow or (match[0][0] == "选" and not _CHOOSES.search(_clause(text, start, _CLAUSE))):
                sure = 0
            yield Statement(at, group[1], group[0], 1 if sure == 2 and len(group[0]) != 1 and not several else sure)


def _doubtful(text: str, at: int) -> tuple[str, int] | None:
    """A letter after a cue that may be part of a name, and where it ends: nothing weaker is an answer then."""
    item = _ITEM.match(text, at)
    return ("", item.end()) if item and len(item[1]) == 1 and item[1] not in "AI" else None


def _lower(text: str, at: int) -> tuple[str, int] | None:
    """A lower-case label after a cue, and where it ends. "a" and "i" are words unless marked."""
    item = _LOWER.match(text, at)
    if item is None or not (item[0][-1] in ")]" or _CONTINUES.match(text, item.end())):
        return None
    marked = not item[0][-1].isalpha() or (
        ":" in text[max(0, at - 2) : at] and re.compile(r"$|\n|[.)]").match(text, item.end())
    )
    return (item[1].upper(), item.end()) if marked or item[1] not in "ai" else None


def _judged(text: str, labels: str) -> tuple[list[Statement], set[str], set[str]]:
    """Statements about labels that stand before them, and all labels that are affirmed, and denied."""
    statements, affirmed, denied, done = [], set(), set(), 0
    for item in _ITEM.finditer(text):
        start = item.start()
        if start < done:
            continue
        names, end = _group(text, start, True, labels, True) or ("", item.end())
        before, done = text[max(0, start - 16) : start], end
        named = re.match(r"(?i)opt|cho|ans|let|选|\(", item[0])
        if not names or _TERM_BEFORE.search(before) or not (named or _MAY_STAND.search(before)):
            continue
        if _DENIES.match(text, end) or _TEXT_DENIED.match(text, end):
            denied |= set(names)
            continue
        said = _AFFIRMED.match(text, end) or _TEXT_AFFIRMED.match(text, end)
        if (
            said
            and not _DENIED.search(said["text"] or "" if said.re is _TEXT_AFFIRMED else "")
            and _holds(text, start, said.end())
        ):
            affirmed |= set(names)
            if _ALSO.search(said[0]) or _ALSO.match(text, said.end()):  # beside another
                names = ""
            statements.append(Statement(start, said.end(), names, 3 if _SETTLED.match(text, end) else 1))
    return statements, affirmed, denied


def _stated(text: str, labels: str, several: bool, prompt_text: str) -> Statement | None:
    """The last statement that counts; with labels "" if there are statements, but no last word. None without any."""
    judged, affirmed, denied = _judged(text, labels)
    if _INVERTED.search(prompt_text):
        judged = []
    statements = sorted([*_cued(text, labels, several), *judged], key=lambda one: (one.start, one.sure))
    if not statements:
        return _in_brackets(text, labels)
    last = statements[-1]
    # two statements, and no word of correction between them: part 1 and part 2, a doctor's and a patient's
    if any(
        set(one.labels + other.labels) <= set(labels)
        and min(one.sure, other.sure) > 2
        and set(one.labels) != set(other.labels)
        and other.sure < 5
        and one.labels
        and other.labels
        and not _TURNS.search(text, one.end, other.start)
        for one, other in pairwise(one for one in statements if one.sure > 2)
    ):
        return last._replace(labels="", sure=5)
    sure = [one for one in statements if one.sure > 1]
    if sure:
        if last.sure < 2 and not _TURNS.search(text, sure[-1].end, last.start):
            later = {
                one.labels
                for one in statements
                if one.start > sure[-1].start and one.sure and (several or len(one.labels) < 2)
            }
            last = sure[-1] if len(later) != 1 or later == {sure[-1].labels} else last._replace(labels="")
        said = [one for one in sure if one.sure > 3 and one.labels]
        if (
            last.sure < 4
            and said
            and said[-1].labels != last.labels
            and not _TURNS.search(text, said[-1].end, last.start)
        ):
            last = last._replace(labels="")  # "The answer is B. ... Choose D."
    elif len({one.labels for one in statements}) > 1 and not _TURNS.search(text, statements[-2].end, last.start):
        whole = several and affirmed | denied >= set(labels) and not affirmed & denied
        last = last._replace(labels="".join(affirmed) if whole else "", sure=2)
    return last._replace(labels="") if _DOUBTS.search(text, last.end) else last


def _in_brackets(text: str, labels: str) -> Statement | None:
    """The only label of a text, in brackets at the end of it or of its first line: "Give metformin (B)."."""
    named = {match[1] for match in re.finditer(r"(?<![A-Za-z0-9])([A-Z])(?![A-Za-z0-9'-])", text)} & set(labels)
    match = re.search(r"(?:[a-z]\w? |[\u3400-\u9fff])\((?:[Oo]ption |选项)?([A-Z])(?:选?项)?\)[.。!]?(?:\n|$)", text)
    if match is None or named != {match[1]}:
        return None
    before = text[max(0, match.start(1) - 60) : match.start(1) - 1]
    if _TERM_BEFORE.search(before.rstrip()) or _DENIED.search(before) or not _holds(text, match.start(1), match.end()):
        return None
    return Statement(match.start(1), match.end(), match[1], 1)


def _leading(text: str, labels: str, several: bool) -> str:
    """The label that the first line begins with, as no other line does; of `choices`, those of all lines."""
    line, _, rest = text.partition("\n")
    head = re.split("[。\n]| [—–-] | because ", text[:80], maxsplit=1)
    if len(head) > 1 and not _HEAD.search(rest) and (bare := _bare(head[0], several)):
        return bare
    first = _HEAD.match(text) or re.compile("([A-Z])(?= (?:because|since)\\b)").match(text)
    if first is None:
        return ""
    name, after = first[1], line[first.end() :]
    if (
        re.match(rf" ?(?:{_SPECIES})\b", after)
        or (first[0][-1] in ":," and name in "AI" and not re.match(r" ?[\u3400-\u9fff]", after))
        or re.match(r" ?(?:(?i:or|and|&|/)|或者?|和|与)? ?\(?[A-Z](?![A-Za-z0-9'-])", after)
    ):
        return ""
    if _INLINE.search(line, first.end() - 1) or _DENIES.match(line, first.end()) or line.endswith("?"):
        return ""
    others = list(_HEAD.finditer(rest))
    names = [name, *(match[1] for match in others)]
    if len(set(names)) == 1:
        return name
    if (
        several
        and len(names) == text.count("\n") + 1
        and _ascending("".join(names))
        and not _JUDGED.search(text)
        and "".join(names) != labels[: len(names)]
    ):
        return "".join(names)
    # the answer, then all options, from the first on
    again = rest[: others[0].start()]
    return name if again and names[1] == labels[:1] and name != names[1] and _ascending("".join(names[1:])) else ""


def _last_line(text: str, several: bool) -> str:
    """The label that is all of the last line, or of its last sentence, where no other line or sentence is one."""
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1][:1].islower() and (bare := _bare(lines[-1], several)):
        before = lines[:-1]
        apart = lines[-2] == "" or not any(_HEAD.match(line) for line in before)
        if apart and not any(_bare(line, several) for line in before) and not re.search(r"[\w,、]$", lines[-2]):
            return bare
    match = re.search(r"(?:[a-z)]{4}[.!]|[。!])\s?((?:[Oo]ption )?\(?[A-Z]\)?)[.。!]?$", text[-40:])
    return match[1].strip("()")[-1] if match and not re.search(r"\b[A-Z]\)?[.。?!]", text[-52 : -len(match[0])]) else ""


def _json(text: str, several: bool) -> tuple[str, str] | None:
    """What a JSON object, or for `choices` an array, states, and the tier; None if the answer is none."""
    fenced = re.fullmatch(r"```\w{0,12}\s+(.*?)\s*```", text, re.S)
    body = fenced[1] if fenced else text
    if body[:1] not in ("{", "["):
        return None
    try:
        value = read_json(body)
    except ValueError:
        return None
    if isinstance(value, dict):
        value = next(
            (item for key, item in value.items() if _KEYS.fullmatch(key.strip().lower().replace(" ", "_"))), None
        )
    elif not several:
        return None
    parts = value if isinstance(value, list) else [value]
    names = []
    for part in parts:
        if not isinstance(part, str):
            return "", "unread"
        names.append(_bare(part, True) or _leading(part, "", several))
    return ("", "unread") if not all(names) else ("".join(sorted(set("".join(names)))), "bare")
