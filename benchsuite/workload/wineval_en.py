# ruff: noqa: E501 - one sentence per line
"""The clinical request set's English."""

from __future__ import annotations

from benchsuite.workload.wineval_language import Disease, Language, Task

_WORDS = {
    "doctor": ("Dr Adams", "Dr Baker", "Dr Chowdhury", "Dr Diaz", "Dr Evans", "Dr Fischer", "Dr Gupta", "Dr Hughes"),
    "drug": (
        "aspirin", "clopidogrel", "atorvastatin", "metoprolol succinate", "amlodipine", "valsartan", "metformin",
        "dapagliflozin", "insulin glargine", "furosemide", "spironolactone", "warfarin", "rivaroxaban", "omeprazole",
        "ceftriaxone", "levofloxacin", "fluconazole", "prednisone", "levothyroxine", "digoxin", "amiodarone",
        "ibuprofen", "paracetamol", "simvastatin", "clarithromycin", "carbamazepine",
    ),
    "order": (
        "aspirin 100 mg by mouth", "clopidogrel 75 mg by mouth", "atorvastatin 20 mg by mouth", "metoprolol 50 mg by mouth",
        "amlodipine 5 mg by mouth", "valsartan 80 mg by mouth", "metformin 500 mg by mouth", "dapagliflozin 10 mg by mouth",
        "insulin glargine 16 units subcutaneously", "furosemide 20 mg intravenously", "spironolactone 25 mg by mouth",
        "warfarin 3 mg by mouth", "rivaroxaban 20 mg by mouth", "omeprazole 20 mg by mouth", "ceftriaxone 2 g intravenously",
        "levofloxacin 500 mg intravenously", "prednisone 30 mg by mouth", "digoxin 0.125 mg by mouth",
        "amiodarone 200 mg by mouth", "ibuprofen 400 mg by mouth", "budesonide 1 mg by inhalation",
    ),
    "frequency": ("once daily", "twice daily", "three times daily", "every 8 hours", "at bedtime"),
    "allergy": ("penicillin", "cephalosporins", "sulfonamides", "iodinated contrast", "shellfish", "aspirin"),
    "chronic": (
        "hypertension", "type 2 diabetes", "coronary artery disease", "chronic hepatitis B", "stage 3 kidney disease",
        "gout", "a previous ischaemic stroke", "hypothyroidism", "asthma", "atrial fibrillation",
    ),
    "surgery": ("appendicectomy", "cholecystectomy", "right knee replacement", "coronary stenting"),
    "view": (
        "Chest CT of the right upper lobe", "Chest CT of the left lower lobe", "Abdominal CT of the right liver lobe",
        "Abdominal CT of the pancreatic head", "Ultrasound of the right kidney", "Brain MRI of the left frontal lobe",
        "Ultrasound of the left thyroid lobe", "CT urogram of the left kidney", "Ultrasound of the spleen",
    ),
    "lesion": ("a round hypodense lesion", "a suspicious nodule", "a cyst", "an ill-defined mass", "a small calcification"),
    "course": ("better than before", "worse than before", "unchanged", "fluctuating", "worse at night"),
    "appetite": ("appetite and sleep are fair", "poor appetite and sleep", "urine output has fallen", "weight loss noted"),
    "job": ("retired teacher", "office worker", "farmer", "taxi driver", "cook", "builder", "nurse", "student"),
    "relative": ("father", "mother", "brother", "sister", "grandfather"),
    "urge": ("I wonder if it is serious", "I am not sure I need to go in", "my family is worried", "I cannot focus at work"),
    "home": ("I took something from the pharmacy", "I drank plenty of water", "I rested for two days", "I did nothing"),
    "worse": ("it gets worse when I move", "it is worse lying down", "it is worse after meals", "mornings are worst"),
}  # fmt: skip

_DISEASES = (
    Disease("Community-acquired pneumonia", "Respiratory medicine", "fever and productive cough", (
        "Temperature rose to {fever} C after a rigor, with rusty sputum.", "Coarse crackles over the right lower zone.",
        "Chest film shows right lower lobe consolidation.", "Procalcitonin {procalcitonin} ng/mL, CRP {crp} mg/L.")),
    Disease("Inferior ST-elevation myocardial infarction", "Cardiology", "crushing central chest pain", (
        "Pain radiates to the left arm with sweating and is not relieved by nitrates.", "ST elevation in II, III and aVF.",
        "Troponin I {troponin} ng/mL and rising.", "Inferior wall hypokinesia, ejection fraction {ejection}%.")),
    Disease("Acute pancreatitis", "Gastroenterology", "severe upper abdominal pain and vomiting", (
        "Onset after heavy drinking; pain goes through to the back.", "Lipase is {count} times the upper limit.",
        "CT shows a swollen pancreas with fat stranding.", "Bowel sounds are reduced.")),
    Disease("Diabetic ketoacidosis", "Endocrinology", "polyuria, thirst and nausea", (
        "Breathing is deep and fast with a fruity smell.", "Ketones strongly positive, pH 7.1{count}.",
        "Insulin was stopped {count} days ago.", "Skin turgor is poor and the eyes are sunken.")),
    Disease("Acute appendicitis", "General surgery", "abdominal pain moving to the right lower quadrant", (
        "Pain began around the navel and moved after {count} hours.", "Rebound tenderness at McBurney's point.",
        "White cells {wbc} x10^9/L, neutrophils {neutrophils}%.", "Ultrasound: appendix 1.{count} cm wide.")),
    Disease("Acute ischaemic stroke", "Neurology", "right-sided weakness and slurred speech", (
        "Woke with a facial droop; right arm power {power}/5.", "Right plantar response is extensor.",
        "CT shows no bleed; MRI diffusion is bright in the left basal ganglia.", "Untreated atrial fibrillation.")),
    Disease("Ureteric stone", "Urology", "colicky loin pain and blood in the urine", (
        "Pain comes in waves to the groin; cannot lie still.", "Left flank tenderness.", "Urine full of red cells.",
        "CT urogram: 0.{count} cm stone in the upper left ureter, mild hydronephrosis.")),
    Disease("Ectopic pregnancy", "Gynaecology", "lower abdominal pain and vaginal bleeding after a missed period", (
        "Amenorrhoea for 4{count} days; pregnancy test positive.", "Cervical motion tenderness.",
        "No intrauterine sac; mixed right adnexal mass {size} cm.", "Blood pressure {systolic}/{diastolic}, pale."),
        women=True),
    Disease("Rheumatoid arthritis", "Rheumatology", "painful swollen hands with morning stiffness", (
        "Stiffness lasts over an hour, symmetrical at the knuckles.", "Anti-CCP strongly positive.",
        "Films show periarticular erosions.", "Symptoms for {years} years without regular treatment.")),
    Disease("Major depression", "Psychiatry", "low mood and loss of interest", (
        "Wakes at {count} every morning and cannot sleep again.", "Feels worthless; thinking is slow.",
        "Symptoms for more than {span} weeks, unable to work.", "No history of mania.")),
)  # fmt: skip

_LINES = {
    "vitals": (
        "Temperature {temp} C, pulse {heart_rate}/min, respirations {breath_rate}/min, blood pressure {systolic}/{diastolic} mmHg.",
        "Oxygen saturation {oxygen}% on air, weight {weight} kg, pain score {pain}/10.",
    ),
    "history": (
        "Known {chronic} for {years} years, on {order} {frequency}.",
        "{surgery} in {year} without complications.",
        "Allergic to {allergy}; no history of tuberculosis or hepatitis.",
        "Smoked {count} cigarettes a day for {years} years.",
        "The patient's {relative} has {chronic}.",
        "Occupation: {job}; over the last {span} days {appetite} and symptoms are {course}.",
    ),
    "exam": (
        "Alert and oriented, no jaundice, no palpable nodes.",
        "Heart rate {heart_rate}, regular, no murmur; breath sounds clear.",
        "Abdomen soft, no organomegaly, bowel sounds {count}/min.",
    ),
    "labs": (
        "Blood count: white cells {wbc} x10^9/L, neutrophils {neutrophils}%, haemoglobin {hemoglobin} g/L, platelets {platelets} x10^9/L.",
        "Liver panel: ALT {alt} U/L, AST {ast} U/L, bilirubin {bilirubin} umol/L, albumin {albumin} g/L.",
        "Renal panel: creatinine {creatinine} umol/L, urea {urea} mmol/L, potassium {potassium} mmol/L, sodium {sodium} mmol/L.",
        "Fasting glucose {glucose} mmol/L, HbA1c {hba1c}%, LDL cholesterol {ldl} mmol/L.",
        "CRP {crp} mg/L, procalcitonin {procalcitonin} ng/mL, lactate {lactate} mmol/L.",
        "Troponin I {troponin} ng/mL, NT-proBNP {bnp} pg/mL, D-dimer {ddimer} mg/L, INR {inr}.",
        "TSH {tsh} mIU/L, repeated on {date}.",
    ),
    "imaging": (
        "{view} on {date} shows {lesion}, {size} x {size} cm.",
        "{view} shows {lesion} of {size} cm, seen before in {year}; follow-up advised.",
        "Echocardiogram: ejection fraction {ejection}%, trivial regurgitation, no effusion.",
    ),
    "progress": (
        "{date} {clock}, {doctor}: symptoms {course}, temperature {temp} C, blood pressure {systolic}/{diastolic} mmHg, "
        "white cells {wbc} x10^9/L; continue {order} {frequency}.",
        "{date} nursing note: intake {intake} mL, urine {urine} mL, pain {pain}/10, {appetite}.",
        "{date} ward round ({doctor}): {view} shows {lesion}, creatinine {creatinine} umol/L, "
        "potassium {potassium} mmol/L; start {order} {frequency} and monitor.",
        "{date} consult ({doctor}): {chronic} may contribute; stop {drug} and reassess.",
    ),
    "orders": (
        "{order} {frequency} from {date} ({doctor}).",
        "{order} {frequency}, day {span}.",
        "Patient's own: {order} {frequency} for {years} years.",
    ),
    "talk": (
        "It started about {span} days ago and {worse}.",
        "So far {home} and it is {course}.",
        "I have {chronic} and take {drug} {frequency}.",
        "At my check-up the blood pressure was {systolic}/{diastolic} and fasting sugar {glucose}.",
        "My {relative} had {chronic}, so {urge}.",
        "At {clock} yesterday my temperature was {temp} and my pulse {heart_rate}.",
        "My job is {job} and {urge}.",
    ),
    "diary": (
        "On {date} at {clock} it came back for {span} minutes; {worse}.",
        "On {date} I measured {temp} C and a blood pressure of {systolic}/{diastolic}; {home}.",
        "On {date} I bought {drug} at the pharmacy, took it for {span} days and felt {course}.",
        "On {date} a blood test showed white cells {wbc} and haemoglobin {hemoglobin}; {doctor} told me to wait.",
    ),
    "defects": (
        "Chief complaint: {complaint} (duration not recorded).",
        "Examination: normal power on the right; progress note of the same day: right arm power {power}/5.",
        "The consent names the left side, the operation note the right; both are signed.",
        "Allergic to {allergy}; a drug of that class is ordered the same day.",
        "Discharge date {date} is earlier than the last progress note.",
        "First progress note written {span} hours after admission, not countersigned.",
    ),
}
_LINES["dated"] = tuple("Repeated on {date}. " + line for line in _LINES["labs"])

_TYPOS = (
    ("patient", "pateint"), ("pressure", "presure"), ("Temperature", "Temprature"), ("temperature", "temprature"),
    ("white cells", "wite cells"), ("creatinine", "creatnine"), ("potassium", "potasium"), ("glucose", "gluclose"),
    ("albumin", "albumen"), ("haemoglobin", "heamoglobin"), ("symptoms", "symptons"), ("bilirubin", "billirubin"),
    ("respirations", "resperations"), ("saturation", "saturaton"), ("allergic", "alergic"), ("history", "histroy"),
    ("Fasting", "Fastng"), ("ejection", "ejetion"), ("regular", "reguler"), ("Abdomen", "Abdoman"),
)  # fmt: skip

_CASE = ("history", "vitals", "exam", "labs", "imaging")
_TASKS = {
    "licensing_exam": Task(
        "You sit a medical licensing exam. One option is best: answer with its letter only.",
        ("Question {record}. A {age}-year-old {sex} has had {complaint} for {span} days.",),
        ("vitals", "history", "exam", "labs"),
        ("dated",),
        ("What is the most likely diagnosis?", "Which diagnosis fits best?"),
    ),
    "clinical_diagnosis": Task(
        "You assist a clinician. Give a working diagnosis, the evidence, differentials and next tests.",
        ("Record {record}: {age}-year-old {sex}, {job}, {complaint} for {span} days.",),
        _CASE,
        ("progress", "dated"),
        ("Give the most likely diagnosis, its evidence and three differentials.", "What would you do next, and why?"),
    ),
    "record_quality_control": Task(
        "You audit medical records. List each defect with its reason and a correction, or state that there is none.",
        ("Record {record} by {doctor}, {date}: {age}-year-old {sex}, {complaint} for {span} days.",),
        (*_CASE, "progress"),
        ("progress", "dated"),
        ("List all defects, most serious first.", "Check completeness, timing and consistency."),
    ),
    "text_correction": Task(
        "You proofread medical text. Correct spelling and terms, keep the meaning, output only the corrected text.",
        ("Text {record}: {age}-year-old {sex} with {complaint} for {span} days.",),
        (*_CASE, "progress"),
        ("progress", "dated"),
        ("Output the corrected text.",),
    ),
    "discharge_summary": Task(
        "You are a resident. Turn the progress notes into a discharge summary: admission, course, diagnosis, orders.",
        ("Stay {record}, bed {bed}: {age}-year-old {sex}, admitted {date} with {complaint}.",),
        ("progress", "labs", "imaging"),
        ("progress", "dated"),
        ("Write the discharge summary in at most 200 words.", "Write the summary in four parts."),
    ),
    "medication_review": Task(
        "You are a clinical pharmacist. Find interactions, contraindications, dose errors and duplicates; advise.",
        ("Chart {record}: {age}-year-old {sex}, {weight} kg, creatinine {creatinine} umol/L, {complaint}.",),
        ("orders", "orders", "history", "labs"),
        ("orders", "dated"),
        ("List the problems by risk.", "Which drugs should be stopped or adjusted?"),
    ),
    "lab_interpretation": Task(
        "You are a laboratory physician. Explain the abnormal results, likely causes and what to repeat.",
        ("Sample {record} taken {date} {clock}: {age}-year-old {sex}, {complaint} under investigation.",),
        ("labs",),
        ("dated",),
        ("Explain what the abnormal results mean.", "Which results need an urgent call, and why?"),
    ),
    "patient_consultation": Task(
        "You are an online doctor. Answer plainly: likely causes, advice, and when to see a doctor at once.",
        ("Hello, case {record} here, {age}, {sex}. I have had {complaint} for {span} days.",),
        ("talk",),
        ("diary",),
        ("What should I do?", "Do I need to go to hospital?", "What should I watch for?"),
    ),
    "information_extraction": Task(
        "Extract from the record and output only JSON with: age, sex, complaint, history, drugs, labs, imaging.",
        ("Note {record}, bed {bed}: {age}-year-old {sex}, {complaint} for {span} days.",),
        (*_CASE, "orders"),
        ("progress", "dated"),
        ("Output JSON; missing fields are null.",),
    ),
    "triage": Task(
        "You are a triage nurse. Choose the best department: answer with its letter only.",
        ("Booking {record}: I am {age}, {sex}, with {complaint} for {span} days.",),
        ("talk",),
        ("diary",),
        ("Which department?", "Where should I go?"),
    ),
}

ENGLISH = Language("en", " ", ("male", "female"), _WORDS, _DISEASES, _LINES, _TYPOS, _TASKS)
