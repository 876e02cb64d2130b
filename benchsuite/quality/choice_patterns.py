"""What states, denies, attributes or leaves open a letter, in English and Chinese: quality.choice's patterns. Pure.

They are made for text that has been cleaned by CLEANING, and take linear time.
"""

from __future__ import annotations

import re

CLEANING = tuple(
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
KINDS = (
    r"\b(?:vitamins?|vit\.?|hepatitis|types?|groups?|grades?|plan|influenza|class|stage|factors?|points?|lead"
    r"|blood|phase"
    r"|category|schedule|level|protein|ha?emoglobin|immunoglobulin|complement|coenzyme|serotype|subtype|strain"
    r"|virus|score"
    r"|cytochrome|interferon|cyclin|pathway|chain|region|band|locus|allele|temperature|column|row|fig(?:ure"
    r"|s?\.)?|tables?)"
)
TERM_BEFORE = re.compile(
    rf"(?i:(?:{KINDS}|\b(?:panel|appendix|sections?|parts?|chapter|arm|cohort|patients?|case|drug|substance|enzyme|box"
    r"|dr\.?|prof\.?|professor|doctor|physician|nurse|researcher|student|teacher|expert|user|model|candidate|speaker"
    r"|person|friend|team|reviewer|hospital|trial|study))"
    r"|医生|护士|同学|学生|老师|教授|专家|病人|患者|维生素|毒素|方案|病案"
    r"|[肝图表子型组级期类酶路录株群染链苷环球白])[ -]?$"
)
TERM_IS = re.compile(rf"(?i){KINDS}(?: is| are|:)? ?$")
SPECIES = (  # of genera that begin with A to J
    r"coli|difficile|diff|perfringens|botulinum|tetani|albicans|auris|glabrata|tropicalis|cereus|anthracis|subtilis"
    r"|fragilis|pertussis|henselae|quintana|abortus|melitensis|malayi|histolytica|faecalis|faecium|cloacae|granulosus"
    r"|multilocularis|vermicularis|corrodens|jejuni|trachomatis|pneumoniae|psittaci|diphtheriae|immitis|neoformans"
    r"|fumigatus|flavus|niger|lumbricoides|aegypti|hydrophila|elegans|fetus|latum|medinensis|melanogaster|tularensis"
    r"|nucleatum|hepatica|lamblia|duodenale|duodenalis|vaginalis|intestinalis|pylori|influenzae|ducreyi|braziliense"
    r"|septicum|sinensis|canis|burgdorferi|[a-z]{3,40}ii"
)
TERM_AFTER = (
    r"(?:(?i:cells?|lymphocytes?|reactive|peptide|sections?|dimers?|virus|antigens?|antibod\w+|positive|negative|waves?"
    rf"|streptococc\w*|fibers?|receptors?|influenza|chains?|vitamins?|types?|groups?|toxins?|proteins?|{SPECIES})\b"
    r"|型|超|肽|反应蛋白|细胞|族|组|级|期|类|淋巴|二聚体|抗原|抗体|受体|病毒|群|链|波|段|区|线|带|试验|蛋白|点"
    r"|染色|柱|肝|流感|语言)"
)

# a label where one is looked for; what may follow it; how labels are joined
LABEL = (
    r"(?<![A-Za-z0-9°'’\-+^_])(?:(?i:options?|choices?|answers?|letters?|选项) ?:? ?)?[(\[{]{0,2} ?([A-Z]{1,12})"
    r"(?![A-Za-z0-9+°^_%]|['’-]\w| ?= ?\d)"
    r"(?: ?[)\]}](?=[)\]}\s.。,;:!?、(\[]|$|[\u3400-\u9fff])){0,2}(?: ?[两三四五]?选?项)?"
)
ITEM = re.compile(LABEL)
LOWER = re.compile(r"(?:(?:option|choice|answer|letter) ?)?[(\[]?([a-z])\b(?!['’([-]|\.[a-z])[)\]]?")
JOINER = (
    r"(?:because|since|as|due|given|based|for|with|while|whereas|rather|instead|over|so|therefore|thus|which|where|that"
    r"|but|although|though|if|unless|when|in|by|here|only|alone|too|again|then|now|according|followed|via|however"
    r"|meaning|namely|i\.e|not|option|choice|answer|and|or|is|are|was|would|must|seems?|appears?|remains|has"
    r"|can|cannot|does"
    r"|isn't|can't|doesn't|wouldn't|it|best|fits?|match(?:es)?|appl(?:y|ies)|makes?|qualif(?:y|ies)|explains?"
    r"|satisf(?:y|ies)|meets?|accounts?|works?|stands?|the)\b"
)
CONTINUES = re.compile(
    rf"(?:$|\n|[.。](?![A-Za-z0-9]?[a-z0-9]|[A-Z]\.| ?(?:{SPECIES})\b)|[!?,;:、)\]}}|&~→…](?!\d)"
    rf"| ?[—–](?! ?{TERM_AFTER})| - "
    rf"| ?/ ?(?=[A-Z](?![A-Za-z+]))| ?[(\[|](?!\d)| \+ (?=[A-Z](?![A-Za-z]))| {JOINER}| (?=[A-HJ](?:[\s.,]|$))"
    r"| ?(?:因|由|吧|了|呀|啊|哦|嘛|这|合(?=[适理题])|恰|正确|最|才|而|不|更|较|是|为|错|和|与|或|及"
    r"|符|当|均|都|也|属|其[余他]|如果|若|易|注意|有的|对于|对(?![应于比照症人患此])|还是|的(?:说法|描述|表述"
    r"|叙述|内容)))"
)
TEXT = re.compile(rf" (?!{TERM_AFTER})(?:[A-Z][a-z]|[\u3400-\u9fff])")
FILLER = re.compile(
    r"(?:\[?(?:(?i:options?|choices?|answers?|letters?|only|just|both|the|therefore|clearly|definitely|likely"
    r"|most likely|probably|actually|still|indeed|in fact|obviously|simply)\b"
    r"|选项|答案|就是|只有|应该?[是为选]?|是|为|选)[,:]?\]? ?){0,4}"
)
AND = re.compile(
    r"[.)]?(?: ?(?:,|、|/|&|\+|\|(?=[A-Z])|\n(?=\W{0,2}[A-Z]\W{0,2}(?:\n|$))|(?i:\band\b)|以及|还有|和|与|及"
    r"|;(?= ?\(?[A-Z]\)?(?:[;.。\n]|$))| \+)(?: ?(?:\n|(?i:and\b)|以及|和|与|及))? ?)"
    r"| (?=[A-Z](?![A-Za-z0-9]))|(?=[(\[][A-Z][)\]])"
)
PERHAPS = r"(?i:(?:possibly|perhaps|maybe|even|also|either|could be|might be|may be) )"
OR = re.compile(
    rf"[.)、]? ?[,(]? ?(?:(?i:or|vs\.?|versus|to|through|nor)\b ?{PERHAPS}{{0,2}}|(?i:(?:but|and) ){PERHAPS}{{1,2}}"
    rf"|或者?是?|还是|也?可能是?|[-~～–—到至](?! )) ?选? ?{LABEL}| [-~–—] {LABEL}(?=\W{{0,3}}(?:\n|$))"
)
LEFT_OPEN = re.compile(r"(?i)\bor\b|或|还是|可能")
PLURAL = re.compile(r" (?:are|were|both|all)\b| ?[都均]|(?: ?[两三四五]?[选]?项)?[都均]")
MORE = re.compile(
    r"[.):、] ?([^.。;()\n]{1,60}?)[ ,;、和及与]{1,3}(?:and )?\(?(?<![A-Za-z0-9])([A-Z])"
    r"(?=[.):、] ?[^\s.。A-Za-z]|[.):、] [A-Za-z])"
)
MORE_LINES = re.compile(r"[.):、] ?([^\n]{1,120})\n\(?([A-Z])(?=[.):、])")
JUDGED = re.compile(
    r"(?i)\b(?:not|wrong|incorrect|because|true|false|correct|right|yes|no|is|are|was|than|if|but|go"
    r"|choose|best|option|answer)\b|n't\b|[错不对选是]|正确|因为"
)

# what is said of a label before it
VERB = r"(?:is|are|'s|was|were|seems?|looks?|appears?|remains?|(?:must|would|should|has to|can|could|may|might) be)"
DENIES = re.compile(
    rf" ?(?:(?i:[,:]? ?{VERB}(?:n't| not| never| \w{{1,20}}ly| also| both| all| still| the| a| an| out| less){{0,3}}"
    r"(?:(?<= not)|(?<=n't)|(?<= less)|(?<= never)|(?<= out)| (?:incorrect|wrong|false|inappropriate|unlikely|excluded"
    r"|eliminated|ruled|contraindicated|inaccurate|irrelevant|unrelated|unsuitable|impossible|implausible|worse|invalid"
    r"|distractors?|insufficient|mistakes?|errors?)\b)|(?:does|do|did|would|could|should)(?:n't| not)\b"
    r"|can(?:not|'t| not)\b"
    r"|[.:–—|-]? ?\(?(?:incorrect|wrong|false|no|not correct|错误?|不正确|不对)(?= ?(?:$|[.,;!)\n。|—-]|:"
    r"(?! ?\(?[A-Z]\b))))"
    r"|的?(?:说法|描述|表述|叙述|内容|观点)?(?:是|为|也|都|均|则|明显|显然|完全|肯定|属于?|就){0,3}"
    r"(?:错|不(?!选|应选|考虑|是 ?[A-Z])|有误|误|非|无|被?排除|未|干扰)|,(?:错误|不对|不正确|有误)(?=[,。;\n!]|$))"
)
AFFIRMS = (
    rf"(?: ?[,:]? ?(?i:{VERB}(?: the| a| an| most| also| both| all| fully| entirely| completely| clearly"
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
YES = r"\(?(?i:\b(?:correct|right|yes|true)\b|正确|对)(?= ?(?:$|[.,;:!)\n。|—-]))"
AFFIRMED = re.compile(rf"{AFFIRMS}|(?i: it is\b| for sure\b)|(?: ?[.:–—|-])? ?{YES}")
TEXT_DENIED = re.compile(
    r"(?:[.:]|(?<=\))) ?[^.。;,\n]{1,60}?(?: ?[:–—|]| -| \() ?\(?(?i:incorrect|wrong|false|no|错误?|不正确|不对)"
    r"(?= ?(?:$|[.,;:!)\n。|—-]))"
)
TEXT_AFFIRMED = re.compile(  # behind the text of the option
    r"(?:[.:,]|(?<=\))| (?=\()) ?"
    rf"(?:(?P<text>(?:[A-Z(\u3400-\u9fff]|(?<=[,:)] )[a-z])[^.。;,\n]{{0,60}}?){AFFIRMS}"
    rf"|[^.。;,\n]{{1,60}}?(?: ?[:–—|]| -| \() ?{YES})"
)
SETTLED = re.compile(
    r"(?i)[^\n]{0,62}?\b(?:is|are|'s) (?:(?:clearly|therefore|thus|definitely) )?(?:the|our|my) "
    r"(?:(?:single |only )?(?:correct|right|best|final) )?(?:answers?|choice|option)\b|.{0,40}?(?:本题|正确|的)答案"
)
MAY_STAND = re.compile(
    r"(?i)(?:^|[.。,;:!?\n、()\[\]—|-]|\b(?:so|thus|therefore|hence|that|and|or|but|only|both|think|believe|say"
    r"|because|then"
    r"|overall|while|whereas|although|reflection|makes|making)"
    r"|所以|因此|[故而但则见有中和与及或案述题仅项此外]|认为|觉得) ?$"
)

# what announces a label. 5: a correction; 4: a statement of the answer; 3: another one; 2: one behind "so", "probably"
# and the like; 1: a weak one, which counts where no other stands
NOUN = r"(?:answers?|options?|choices?|selections?|responses?|picks?|ans|verdict|key)"
WORD = r"(?!(?:whose|whether|if|that|who|which|when|where|than|is|are|not|cannot|never)\b)[^\s.,;:!?]{1,30}"
IS = (
    r"(?:(?:is|are|'s|would be|should be|must be|will be|has to be|have to be|can only be|seems to be|appears to be"
    r"|would have to be|remains)\b ?:?|[是为:]|=>?|->|→|—|–| ?- |,(?= is\b)|\])"
)
RIGHT = (
    r"(?:correct|right|best|exception|most (?:likely|appropriate|probable|suitable|accurate|plausible|consistent)"
    r"|closest|final|proper|accurate)"
)
SELF = (
    r"(?:\b(?:I|we|let's|let me|let us)(?:'d|'ll|'m|'ve| am| would| will| shall| have to| must| should| do| can)?"
    r"(?: (?:\w{1,20}ly|also|still|now|then|rather|have|to|thus|so)){0,2} "
    r"|(?:^|[.!\n:;,]) ?(?:so|therefore|thus|hence|and|then)?,? ?(?:please )?)"
)
CUES = tuple(
    (sure, re.compile(pattern))
    for sure, pattern in (
        (3, rf"(?i:\b(?:{RIGHT} )?{NOUN}(?:\(s\)| \d{{1,3}})?"
            rf"(?:[ _](?:choice|option|letter|key|here|s|selected|chosen|number|no\.?)\b)?"
            rf"(?: (?:to|for|of|in|here|among|from|based|given)\b(?: {WORD}){{0,14}})?"
            rf"(?:,? (?:therefore|thus|then),?)? ?(?:\n{{1,2}}|{IS})[\s:]{{0,2}})"),
        (3, rf"(?i:\b{RIGHT}(?: {WORD}){{0,6}} ?{IS}[\s:]{{0,2}})"),
        (3, r"(?i:\b(?:solution|result|conclusion|letter|label|prediction|output|selected|assistant): )"),
        (3, r"(?i:\bcorrect ?(?:answers?|options?|choices?)? )(?=[(\[])"),
        (1, r"(?i:\banswers? )(?=\(?[A-Z]\b)"),
        (3, r"(?i:\bans[.:) -]{1,3})"),
        (3, rf"(?i:{SELF}(?:choose|chose|select|selected|pick|picked|go (?:with|for)|opt for|answer|say|mean|meant"
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
OTHERS = re.compile(  # what stands before a cue whose answer is not this answer's, or not its last
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
NAMES_ANSWER = re.compile(r"(?i)answer|\bans\b|final|答案|正解")
NARROW = re.compile(  # of another question than the one that was asked
    r"(?i)^\W*(?:(?:but|and|however|also|note that),? ?)?(?:for|in|with|among|during) (?!this|the|that|our|these|all|my"
    r"|conclusion|summary|short|light|view|general|sum|fact|order|brief|addition|both|such|each|terms)"
    r"|对于|有的|部分|某些|教材|版本|拓展|变式"
)
NARROW_CUE = re.compile(
    r"(?i) to (?:an?|another|part|the (?:first|second|third|next|other|last|previous|similar))\b"
    r"| (?:for|in|among) (?!this|the|that|our|these|all|me|my|your|his|her|question|q)\w"
)
SPLIT = re.compile(  # "A in children and B in adults", "A and to part 2 is C"
    r"(?i)[)\]]?,? (?:(?:in|for|with|among|during|to|at) [^.。\n]{1,60}?)?[,;]? ?(?:\b(?:and|but|while|whereas) "
    r"|(?<=[,;] ))"
    r"(?:(?:in|for|with|to) [^.。\n]{1,40}? )?(?:is )?(?-i:\(?[A-Z]\)?)(?: (?:in|for|with|among|during|to|at)\b"
    r"|[.;\n]|$)"
)
PERSON = re.compile(r"[人生张李王三四]$")
CHOOSES = re.compile(
    r"(?:^|[故应该当就则题我会们要得而终综上后能好仍是还于议接可以改请荐么便述析知见案此,:：\s)\]])$|^\W*[A-Z]"
)
DENIED = re.compile(
    r"(?i)\b(?:not|never|neither|cannot|nor|hardly|doubt|without|except|no longer)\b|n't\b"
    r"|[没未非别勿无]|不(?!如)|与其|除[了去]|排除|(?i:\b(?:all|\w{3,5}thing|options) but\b)"
)
SUPPOSED = re.compile(
    r"(?i)\b(?:initially|at first|first thought|first glance|tempt\w+|mistake\w*|commonly|often|some|students?|many|why"
    r"|people|others|suppose|assum\w+|might|could|may|whether|had|were|previously|originally|earlier|thought|used to"
    r"|instead of|rather than|would have|confus\w+|(?:was|were) (?:going|about|inclined)|almost|nearly)\b"
    r"|\b(?:says|claims?|claimed|believes|believed|thinks|argues|argued|insists|states|said|according to"
    r"|per cent|percent)\b"
    r"|凭什么|怎么|据说|有人|很多|许多|有些|同学|考生|容易|误|起初|最初|一开始|本来|原以为|为什么|为何|是否|曾|可能会"
)
IF = re.compile(r"(?i)\b(?:if(?! I (?:had|have|must)\b)|unless|whether)\b|如果|假如|假设|[若]|除非|的话")
ATTRIBUTED = re.compile(
    r"(?i)\baccording to (?:[a-z]+|(?-i:[A-Z][a-z]+)),|\bmyth\b|\b(?:people|everyone|everybody|students) (?:say"
    r"|think|believe|choose|pick)\b"
    r"|以前|旧版|(?<![我们者人上此述析合而故以且也来,。\n])(?:认为|觉得)"
)
ALTHOUGH = re.compile(r"(?i)\W*(?:(?:while|(?:even )?though|although)\b|虽|尽管)")
CLAUSE = re.compile(
    r"[.。,;:!?\n…]|(?i:(?<!all )(?<!thing )(?<!options )\bbut\b|\b(?:however|yet|so|therefore|thus|hence|because)\b)"
    r"|[故而但却]|所以|因此|那么|于是|应当?该?(?=选)|综上"
)
SENTENCE = re.compile(r"[.。;!?\n…]")
TURNS = re.compile(  # what comes after takes back what was said before
    r"(?i)\b(?:wait|actually|hmm+|correction|on second thoughts?|let me (?:re|double|check|think)|looking again|sorry"
    r"|reconsider\w*|re-?(?:read|check|evaluat|examin|think|assess)\w*|apologi[sz]e|mistaken?|I was wrong|revis\w+"
    r"|correct (?:myself|this|that|my)|edit:|no,|oops|scratch that)|等等|等一下|更正|重新|抱歉|修正|再想"
    r"|仔细一?想|再看|不对[,。!]|纠正"
    r"|说错|写错|搞错|更改|改为|改选"
)
DOUBTS = re.compile(  # an answer that says so and then names no other is open again
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
NEXT_ITEM = re.compile(
    r"(?i)\n(?:human|user|instruction|input) ?:|\n(?:next |new )?question ?\d{0,3} ?[:.]|\nQ ?\d{0,3}[:.]"
    r"|\n(?:题目|问题|例题?|下一题) ?\d{0,3}[:.]"
)
ALSO = re.compile(r" (?:also|too|as well)\b|也")
INVERTED = re.compile(  # a question after what is wrong: "A is correct" says nothing of the answer
    r"\b(?:EXCEPT|NOT|LEAST|FALSE|INCORRECT)\b|\b[Ee]xcept[:?]|\bincorrect\b|错误的|不正确|不属于|不包括|除外"
    r"|不符合|有误的"
)
PARTS = re.compile(
    r"(?i)(?:\b(?:Q|question|part|blank) ?|第)([1-9一二三四])(?:问|空"
    r"|小?题)?(?: is)? ?[:.：)选为是]{1,3} ?\(?(?-i:([A-E]))(?![A-Za-z])"
)
YES_MARK = r"√|✓|✔|✅|☑|\[[xX]\]|(?i:(?:correct|right|true|yes)\b)|正确|对"
NO_MARK = r"×|❌|✗|✘|❎|\[ ?\]|(?i:(?:incorrect|wrong|false|no|not correct)\b)|错误?|不正确|不对"
MARKED = re.compile(
    rf"[-+*\s]{{0,9}}(?:({YES_MARK})|({NO_MARK}))?\ufe0f?[*\s]{{0,4}}(?i:option "
    rf"|选项)?\(?([A-Z])(?![A-Za-z])\)?项?[* .:、-]{{0,5}}"
    rf"(?:({YES_MARK})|({NO_MARK}))?\ufe0f?[*\s,;.。、|]{{0,9}}"
)
HEAD = re.compile(
    r"(?im)^(?:(?:option|choice|选项) ?)?[(\[]?(?-i:([A-Z]))(?:[)\]](?= |$|[.:\u3400-\u9fff])| ?[.:、,](?![0-9a-z,-])"
    r"| - | ?[—–](?!\w)| (?=\((?!or |and |或|和)[^()\n]{2,80}\)[.。]?$)|$)"
)
INLINE = re.compile(r"[\s,;、]\(?([A-Z])(?:[.):]|、(?!\(?[A-Z]))(?![0-9])(?= ?\S)")
CUES_IN_TRADITIONAL = str.maketrans(
    "選項為對錯應該當題會說釋結論擇綜誤確認覺顯雖開從這還卻於無變適順據擬維圖級類細體區帶點",
    "选项为对错应该当题会说释结论择综误确认觉显虽开从这还却于无变适顺据拟维图级类细体区带点",
)
KEYS = re.compile(
    r"(?:(?:my|your|the|model|final|correct|right|best|selected|chosen|predicted)?_?"
    r"(?:answers?|choices?|options?|selection|prediction|ans)(?:_(?:letter|choice|option|key|label))?|letter|label"
    r"|(?:最终|正确)?(?:答案|选项|选择))"
)
