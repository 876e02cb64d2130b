# ruff: noqa: E501 - Chinese characters count twice
"""The clinical request set's Chinese."""

from __future__ import annotations

from benchsuite.workload.wineval_language import Disease, Language, Task

_WORDS = {
    "doctor": ("王建国", "李文静", "陈晓东", "刘海燕", "赵志强", "周敏", "孙立平", "吴雪梅", "郑凯", "何晓琳"),
    "drug": (
        "阿司匹林肠溶片", "硫酸氢氯吡格雷片", "阿托伐他汀钙片", "琥珀酸美托洛尔缓释片", "苯磺酸氨氯地平片", "缬沙坦胶囊",
        "二甲双胍片", "达格列净片", "甘精胰岛素", "呋塞米片", "螺内酯片", "华法林钠片", "利伐沙班片", "奥美拉唑肠溶胶囊",
        "头孢曲松钠", "左氧氟沙星", "莫西沙星", "氟康唑胶囊", "泼尼松片", "左甲状腺素钠片", "地高辛片", "胺碘酮片",
        "布洛芬缓释胶囊", "对乙酰氨基酚片", "辛伐他汀片", "克拉霉素片", "氯化钾缓释片", "卡马西平片",
    ),
    "order": (
        "阿司匹林肠溶片100mg口服", "硫酸氢氯吡格雷片75mg口服", "阿托伐他汀钙片20mg口服", "琥珀酸美托洛尔缓释片47.5mg口服",
        "苯磺酸氨氯地平片5mg口服", "缬沙坦胶囊80mg口服", "二甲双胍片0.5g口服", "达格列净片10mg口服", "甘精胰岛素16单位皮下注射",
        "呋塞米注射液20mg静脉注射", "螺内酯片20mg口服", "华法林钠片3mg口服", "利伐沙班片20mg口服", "奥美拉唑肠溶胶囊20mg口服",
        "头孢曲松钠2g静脉滴注", "左氧氟沙星0.5g静脉滴注", "泼尼松片30mg口服", "地高辛片0.125mg口服", "胺碘酮片0.2g口服",
        "布洛芬缓释胶囊0.3g口服", "布地奈德混悬液1mg雾化吸入", "低分子肝素钠4000单位皮下注射", "克拉霉素片0.5g口服",
    ),
    "frequency": ("每日一次", "每日两次", "每日三次", "每8小时一次", "每晚睡前一次"),
    "allergy": ("青霉素", "头孢类", "磺胺类", "碘造影剂", "海鲜", "阿司匹林"),
    "chronic": ("高血压病", "2型糖尿病", "冠心病", "慢性乙型肝炎", "慢性肾脏病3期", "痛风", "脑梗死", "甲状腺功能减退症", "支气管哮喘", "心房颤动"),
    "surgery": ("阑尾切除术", "胆囊切除术", "右膝关节置换术", "甲状腺次全切除术", "冠状动脉支架植入术"),
    "view": (
        "胸部CT平扫示右肺上叶", "胸部CT平扫示左肺下叶", "腹部增强CT示肝右叶", "腹部增强CT示胰头部", "腹部彩超示右肾", "头颅MRI示左侧额叶",
        "甲状腺超声示左侧叶", "泌尿系CT示左肾", "腹部彩超示脾脏",
    ),
    "lesion": ("类圆形低密度影", "可疑结节", "囊性病灶", "边界不清的占位", "斑片状异常信号", "小钙化灶"),
    "course": ("较前缓解", "较前加重", "无明显变化", "反复发作", "逐渐好转", "夜间明显"),
    "appetite": ("精神、食欲尚可", "食欲差，睡眠欠佳", "睡眠可，大便干结", "小便量减少", "体重近期下降"),
    "job": ("退休教师", "公司职员", "农民", "出租车司机", "厨师", "建筑工人", "护士", "在校学生", "会计"),
    "relative": ("父亲", "母亲", "哥哥", "姐姐", "祖父", "外祖母"),
    "urge": ("想问问严不严重", "不知道要不要去医院", "家里人都很担心", "网上查了越看越害怕", "上班也没法专心"),
    "home": ("在家自己吃了点药", "喝了很多热水", "休息了两天", "贴了膏药", "在社区诊所输过液", "什么也没处理"),
    "worse": ("一活动就加重", "晚上躺下更难受", "吃完饭更明显", "早上起来最重", "情绪激动时会发作", "天冷的时候更厉害"),
}  # fmt: skip

_DISEASES = (
    Disease("社区获得性肺炎", "呼吸内科", "发热、咳嗽、咳黄痰", (
        "寒战后体温升至{fever}℃，咳黄色脓痰。", "右下肺可闻及湿性啰音，语颤增强。", "胸片示右下肺大片实变影。",
        "白细胞{wbc}×10⁹/L，降钙素原{procalcitonin}ng/mL。", "深吸气时右侧胸痛。")),
    Disease("急性ST段抬高型心肌梗死", "心血管内科", "突发胸骨后压榨样疼痛", (
        "疼痛向左肩背部放射，伴大汗，含服硝酸甘油不缓解。", "心电图示Ⅱ、Ⅲ、aVF导联ST段弓背向上抬高0.{count}mV。",
        "肌钙蛋白I {troponin}ng/mL，呈动态升高。", "超声心动图示下壁运动减弱，射血分数{ejection}%。", "既往吸烟{years}年。")),
    Disease("急性胰腺炎", "消化内科", "上腹部持续性剧痛伴呕吐", (
        "发病前有饮酒及高脂餐史，疼痛向腰背部放射，弯腰抱膝位可减轻。", "血淀粉酶升高至正常上限{count}倍以上。",
        "腹部CT示胰腺肿胀，周围脂肪间隙模糊。", "上腹部压痛，肠鸣音减弱。", "血钙1.{count}mmol/L，甘油三酯明显升高。")),
    Disease("糖尿病酮症酸中毒", "内分泌科", "多饮多尿、乏力伴恶心", (
        "呼吸深快，呼气有烂苹果味。", "随机血糖{glucose}mmol/L以上，尿酮体（+++）。", "动脉血气pH 7.1{count}，碳酸氢根下降。",
        "近{count}天自行停用胰岛素。", "皮肤弹性差，眼窝凹陷。")),
    Disease("急性阑尾炎", "普通外科", "转移性右下腹痛", (
        "疼痛始于脐周，{count}小时后转移并固定于右下腹。", "麦氏点压痛、反跳痛阳性，局部肌紧张。", "结肠充气试验阳性。",
        "白细胞{wbc}×10⁹/L，中性粒细胞{neutrophils}%。", "超声示阑尾增粗，直径1.{count}cm。")),
    Disease("急性脑梗死", "神经内科", "右侧肢体无力伴言语不清", (
        "晨起时发现口角左偏，右上肢肌力{power}级。", "右侧巴宾斯基征阳性。", "头颅CT未见出血，MRI弥散加权像示左侧基底节区高信号。",
        "既往心房颤动{years}年，未规律抗凝。", "NIHSS评分{count}分。")),
    Disease("肾结石", "泌尿外科", "突发左侧腰部绞痛伴血尿", (
        "疼痛阵发性加剧，向会阴部放射，辗转不安。", "左肾区叩击痛阳性。", "尿红细胞满视野。",
        "泌尿系CT示左输尿管上段高密度影，直径0.{count}cm。", "左肾轻度积水。")),
    Disease("甲状腺功能亢进症", "内分泌科", "心悸、怕热、消瘦", (
        "双眼轻度突出，手抖，多汗。", "甲状腺弥漫性Ⅱ度肿大，可闻及血管杂音。", "TSH低于0.01mIU/L，游离T4明显升高。",
        "近{count}个月体重下降{count}kg。", "促甲状腺激素受体抗体阳性。")),
    Disease("肺栓塞", "呼吸内科", "突发呼吸困难、胸痛", (
        "左下肢肿胀{count}天，小腿周径较对侧增粗。", "D-二聚体{ddimer}mg/L，血氧饱和度{oxygen}%。", "CT肺动脉造影示右肺动脉充盈缺损。",
        "骨科术后卧床{span}天。", "颈静脉充盈，P2亢进。")),
    Disease("缺铁性贫血", "血液内科", "头晕、乏力、面色苍白", (
        "月经量增多{years}年。", "血红蛋白{count}8g/L，平均红细胞体积降低。", "血清铁蛋白{count}μg/L。",
        "指甲变薄、反甲，舌乳头萎缩。", "网织红细胞比例正常。"), women=True),
    Disease("类风湿关节炎", "风湿免疫科", "双手小关节肿痛伴晨僵", (
        "晨僵持续超过1小时，对称累及近端指间关节及掌指关节。", "抗环瓜氨酸肽抗体强阳性。", "双手X线示关节周围骨质疏松、骨侵蚀。",
        "红细胞沉降率{crp}mm/h。", "病程已{years}年，未规律治疗。")),
    Disease("原发性开角型青光眼", "眼科", "视力下降、视野缩小", (
        "右眼眼压3{count}mmHg，前房角开放。", "眼底杯盘比0.{count}，盘沿变窄。", "视野检查示弓形暗点。",
        "无眼红眼痛。", "{relative}有青光眼病史。")),
    Disease("带状疱疹", "皮肤科", "胸背部皮疹伴烧灼样疼痛", (
        "左侧胸背部沿肋间神经分布簇集性水疱，不超过中线。", "皮疹出现前{count}天局部皮肤刺痛。", "疼痛评分{pain}分，夜间影响睡眠。",
        "近期劳累，免疫力下降。", "疱壁紧张，疱液清亮。")),
    Disease("异位妊娠", "妇产科", "停经后下腹痛伴阴道流血", (
        "停经4{count}天，尿妊娠试验阳性。", "宫颈举痛，后穹隆饱满。", "超声示宫腔内未见孕囊，右附件区混合性包块。",
        "血压{systolic}/{diastolic}mmHg，面色苍白。", "后穹隆穿刺抽出不凝血。"), women=True),
    Disease("抑郁症", "精神科", "情绪低落、兴趣减退", (
        "早醒，每日凌晨{count}点即醒，难以再入睡。", "自觉一切没有意义，思维迟缓，注意力不集中。", "汉密尔顿抑郁量表评分2{count}分。",
        "症状持续{span}周以上，工作能力下降。", "否认躁狂发作史。")),
    Disease("梅尼埃病", "耳鼻喉科", "反复发作性眩晕伴耳鸣", (
        "每次眩晕持续{count}小时，伴恶心、呕吐。", "左耳波动性听力下降，耳闷胀感。", "纯音测听示低频感音神经性聋。",
        "发作时可见水平眼震。", "近{count}个月发作{count}次，意识清楚。")),
)  # fmt: skip

_LINES = {
    "vitals": (
        "体温{temp}℃，脉搏{heart_rate}次/分，呼吸{breath_rate}次/分，血压{systolic}/{diastolic}mmHg。",
        "未吸氧下血氧饱和度{oxygen}%，体重{weight}kg，疼痛评分{pain}分。",
    ),
    "history": (
        "既往{chronic}{years}年，长期使用{order}，{frequency}。",
        "{year}年曾行{surgery}，恢复可。",
        "否认肝炎、结核病史，对{allergy}过敏。",
        "吸烟{years}年，每日{count}支；饮酒{years}年。",
        "{relative}患有{chronic}，否认家族遗传病史。",
        "职业为{job}，近{span}天工作劳累，{appetite}。",
        "起病以来{appetite}，症状{course}。",
    ),
    "exam": (
        "神志清楚，查体合作，皮肤巩膜无黄染，浅表淋巴结未触及肿大。",
        "双肺呼吸音清，心率{heart_rate}次/分，律齐，未闻及病理性杂音。",
        "腹平软，肝脾肋下未触及，移动性浊音阴性，肠鸣音{count}次/分。",
        "双下肢无凹陷性水肿，四肢肌力5级，生理反射存在。",
    ),
    "labs": (
        "血常规：白细胞{wbc}×10⁹/L，中性粒细胞{neutrophils}%，血红蛋白{hemoglobin}g/L，血小板{platelets}×10⁹/L。",
        "肝功能：ALT {alt}U/L，AST {ast}U/L，总胆红素{bilirubin}μmol/L，白蛋白{albumin}g/L。",
        "肾功能：肌酐{creatinine}μmol/L，尿素{urea}mmol/L；血钾{potassium}mmol/L，血钠{sodium}mmol/L。",
        "空腹血糖{glucose}mmol/L，糖化血红蛋白{hba1c}%，低密度脂蛋白胆固醇{ldl}mmol/L。",
        "C反应蛋白{crp}mg/L，降钙素原{procalcitonin}ng/mL，乳酸{lactate}mmol/L。",
        "肌钙蛋白I {troponin}ng/mL，NT-proBNP {bnp}pg/mL，D-二聚体{ddimer}mg/L，INR {inr}。",
        "促甲状腺激素{tsh}mIU/L，复查日期{date}。",
    ),
    "imaging": (
        "{month}月{day}日{view}{lesion}，大小约{size}cm×{size}cm。",
        "{view}{lesion}，长径{size}cm，{year}年已有类似发现，建议随访。",
        "超声心动图：左室射血分数{ejection}%，瓣膜轻度反流，未见心包积液。",
    ),
    "progress": (
        "{month}月{day}日 {clock} {doctor}医师查房：患者诉症状{course}，体温{temp}℃，血压{systolic}/{diastolic}mmHg，"
        "白细胞{wbc}×10⁹/L，继续{order}，{frequency}。",
        "{month}月{day}日 护理记录：24小时入量{intake}mL，尿量{urine}mL，疼痛评分{pain}分，{appetite}。",
        "{month}月{day}日 {doctor}主任医师查房：{view}{lesion}，复查肌酐{creatinine}μmol/L、血钾{potassium}mmol/L，"
        "加用{order}，{frequency}，注意监测。",
        "{month}月{day}日 会诊意见（{doctor}）：考虑合并{chronic}，建议停用{drug}，{count}天后再评估。",
    ),
    "orders": (
        "{order}，{frequency}（{month}月{day}日起，{doctor}）。",
        "{order}，{frequency}，已用{span}天。",
        "自备药：{order}，{frequency}，已用{years}年。",
    ),
    "talk": (
        "大概{span}天前开始的，{worse}。",
        "{home}，感觉{course}。",
        "我以前有{chronic}，一直吃{drug}，{frequency}。",
        "上个月体检血压{systolic}/{diastolic}，空腹血糖{glucose}，医生说再观察。",
        "我{relative}也得过{chronic}，{urge}。",
        "昨天{hour}点多量的体温{temp}度，心率{heart_rate}。",
        "我是{job}，{urge}，{appetite}。",
        "之前{view}有{lesion}，大小{size}厘米，一直没复查。",
    ),
    "diary": (
        "{month}月{day}号{hour}点左右又发作一次，持续了{span}分钟，{worse}。",
        "{month}月{day}号量的体温{temp}度，血压{systolic}/{diastolic}，{home}。",
        "{month}月{day}号去药店买了{drug}，吃了{count}天，感觉{course}。",
        "{month}月{day}号在门诊抽血，白细胞{wbc}，血红蛋白{hemoglobin}，{doctor}医生让我再观察。",
    ),
    "defects": (
        "主诉：{complaint}（未记录持续时间）。",
        "查体：右侧肢体肌力正常；同日病程记录：右侧肢体肌力{power}级。",
        "术前诊断为左侧病变，手术记录写“右侧”，已签字。",
        "患者对{allergy}过敏；同日医嘱仍开具同类药物。",
        "出院日期{date}，早于最后一次病程记录。",
        "首次病程记录完成于入院后{span}小时，上级医师未签名。",
        "知情同意书缺患者签名，手术时间为{clock}。",
    ),
}
_LINES["dated"] = tuple("{date}复查，" + line for line in _LINES["labs"])

_TYPOS = (
    ("患者", "患着"), ("血压", "血牙"), ("疼痛", "疼疼"), ("白细胞", "白细泡"), ("过敏", "过过敏"), ("症状", "征状"),
    ("复查", "复察"), ("病史", "病使"), ("服用", "服月"), ("肌酐", "肌肝"), ("大小约", "大小药"), ("体温", "体湿"),
    ("呼吸", "乎吸"), ("边界", "边介"), ("诊断", "诊段"), ("主任", "主认"), ("水肿", "水种"), ("注意", "主意"),
    ("肝脾", "肝牌"), ("血糖", "血塘"), ("既往", "即往"), ("恢复", "回复"), ("心率", "心律"), ("查房", "察房"),
)  # fmt: skip

_CASE = ("history", "vitals", "exam", "labs", "imaging")
_TASKS = {
    "licensing_exam": Task(
        "你正在参加执业医师资格考试。每题只有一个最佳答案，请只回答选项字母。",
        (
            "第{record}题：患者{sex}，{age}岁，{complaint}{span}天。",
            "题{record}（A2型）。{age}岁{sex}性，因{complaint}{span}天就诊。",
        ),
        ("vitals", "history", "exam", "labs"),
        ("dated",),
        ("以上患者最可能的诊断是：", "根据上述资料，首先考虑的诊断是："),
    ),
    "clinical_diagnosis": Task(
        "你是一名临床诊断助手。请根据病历给出初步诊断、诊断依据、鉴别诊断和下一步检查。",
        (
            "病历号{record}，{age}岁{sex}性，{job}。主诉：{complaint}{span}天。",
            "{date}入院，住院号{record}，{sex}，{age}岁，主因“{complaint}{span}天”收入院。",
        ),
        _CASE,
        ("progress", "dated"),
        ("请给出最可能的诊断和依据，并列出三个鉴别诊断。", "请写出初步诊断、鉴别诊断及需要完善的检查。"),
    ),
    "record_quality_control": Task(
        "你是病历质控员。请逐条指出病历中的缺陷，说明依据，并给出修改意见；没有缺陷则说明合格。",
        ("病历{record}（{doctor}医师书写，{date}）：{age}岁{sex}性，{complaint}{span}天。",),
        (*_CASE, "progress"),
        ("progress", "dated"),
        ("请列出全部质控缺陷，按严重程度排序。", "请检查完整性、时效性和一致性，并逐条说明。"),
    ),
    "text_correction": Task(
        "你是医学文本校对员。请改正下文中的错别字和术语错误，不改变原意，只输出改正后的全文。",
        (
            "原文{record}：{age}岁{sex}性患者，{complaint}{span}天。",
            "（{date}，{doctor}）患者{sex}，{age}岁，{complaint}。",
        ),
        (*_CASE, "progress"),
        ("progress", "dated"),
        ("请输出改正后的全文。",),
    ),
    "discharge_summary": Task(
        "你是住院医师。请把病程记录写成出院小结：入院情况、诊疗经过、出院诊断、出院医嘱。",
        ("住院号{record}，{bed}床，{age}岁{sex}性，{date}因{complaint}入院。",),
        ("progress", "labs", "imaging"),
        ("progress", "dated"),
        ("请写出出院小结，不超过三百字。", "请按四个部分写出出院小结。"),
    ),
    "medication_review": Task(
        "你是临床药师。请审核医嘱，指出相互作用、禁忌、剂量和重复用药问题，并给出建议。",
        ("处方{record}：{sex}，{age}岁，体重{weight}kg，肌酐{creatinine}μmol/L，{complaint}。",),
        ("orders", "orders", "history", "labs"),
        ("orders", "dated"),
        ("请按风险高低列出用药问题。", "请指出需要停用或调整剂量的药物。"),
    ),
    "lab_interpretation": Task(
        "你是检验科医师。请解读检验结果，指出异常项目、可能原因和需要复查的项目。",
        ("样本{record}（{month}月{day}日{clock}采集），{age}岁{sex}性，临床诊断：{complaint}待查。",),
        ("labs",),
        ("dated",),
        ("请解释异常结果的临床意义。", "哪些结果需要立即通知临床？请说明理由。"),
    ),
    "patient_consultation": Task(
        "你是在线问诊医生。请用通俗的语言回答，说明可能的原因、注意事项，以及什么情况下必须就医。",
        (
            "医生您好，我今年{age}岁，{sex}，{complaint}有{span}天了。",
            "{age}岁{sex}，编号{record}，最近{complaint}，请问怎么回事？",
        ),
        ("talk",),
        ("diary",),
        ("请问我该怎么办？", "需要去医院吗，挂什么科？", "平时要注意什么？"),
    ),
    "information_extraction": Task(
        "请从病历中抽取信息，只输出JSON，字段为：age、sex、complaint、history、drugs、labs、imaging。",
        ("记录{record}：{age}岁{sex}性，{complaint}{span}天，{bed}床。",),
        (*_CASE, "orders"),
        ("progress", "dated"),
        ("请输出JSON，缺失字段填null。",),
    ),
    "triage": Task(
        "你是导诊护士。请根据描述选择最合适的就诊科室，只回答选项字母。",
        ("{age}岁{sex}，{complaint}{span}天（挂号{record}）。", "预约{record}：我{age}岁，{sex}，{complaint}。"),
        ("talk",),
        ("diary",),
        ("请选择科室：", "应该挂哪个科？"),
    ),
}

CHINESE = Language("zh", "", ("男", "女"), _WORDS, _DISEASES, _LINES, _TYPOS, _TASKS)
