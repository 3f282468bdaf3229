"""The fixed texts that engines are timed and compared with: short and long ones, in twenty languages and in none."""

__all__ = ["PARITY_TEXTS"]

_SENTENCES = (
    "The boundary layer on a flat plate becomes turbulent where the Reynolds number is large enough.",
    "Die Grenzschicht wird dort turbulent, wo die Reynolds-Zahl groß genug ist.",
    "La couche limite devient turbulente lorsque le nombre de Reynolds est assez grand.",
    "La capa límite se vuelve turbulenta cuando el número de Reynolds es bastante grande.",
    "A camada limite torna-se turbulenta quando o número de Reynolds é grande.",
    "Lo strato limite diventa turbolento quando il numero di Reynolds è grande.",
    "De grenslaag wordt turbulent waar het getal van Reynolds groot genoeg is.",
    "Gränsskiktet blir turbulent där Reynoldstalet är tillräckligt stort.",
    "Warstwa przyścienna staje się turbulentna, gdy liczba Reynoldsa jest duża.",
    "Mezní vrstva se stává turbulentní, když je Reynoldsovo číslo velké.",
    "Sınır tabakası, Reynolds sayısı yeterince büyük olduğunda türbülanslı olur.",
    "Lớp biên trở nên rối khi số Reynolds đủ lớn.",
    "Пограничный слой становится турбулентным при большом числе Рейнольдса.",
    "Το οριακό στρώμα γίνεται τυρβώδες όταν ο αριθμός Reynolds είναι μεγάλος.",
    "שכבת הגבול נעשית סוערת כאשר מספר ריינולדס גדול.",
    "تصبح الطبقة الحدية مضطربة عندما يكون عدد رينولدز كبيرا.",
    "रेनॉल्ड्स संख्या बड़ी होने पर सीमांत परत विक्षुब्ध हो जाती है।",
    "雷诺数足够大时,边界层变为湍流。",
    "レイノルズ数が十分に大きいと、境界層は乱流になる。",
    "레이놀즈 수가 충분히 크면 경계층은 난류가 된다.",
    "wing",
    "What does the invoice of 2024-03-31 say about 1,284.50 EUR of late fees?",
    "def area(radius: float) -> float:\n    return math.pi * radius**2",
    "| year | revenue | change |\n|---|---|---|\n| 2023 | 4.1 | -3% |\n| 2024 | 4.9 | +20% |",
    "🚀🚀🚀",
    "",
    "The tenant pays the rent in advance, by the third working day of a month, to the landlord's account.",
    "Heat transfer to a blunt body in hypersonic flow falls with the radius of its nose; the measurements agree with "
    "the theory up to the stagnation point, beyond which the catalytic wall explains the difference.",
    "Patients with a reduced kidney function get half the dose, and their potassium is measured after three days.",
    "To restart the service, drain the node first: requests under way end, and new ones go to its neighbours.",
    "The committee found that the bridge had been inspected in each of the ten years before it closed, that two of its "
    "bearings had been known to be worn, and that nobody had been asked to replace them.",
    "Water is let into the forebay while power is cheap, so that the turbines have it when everybody wants light.",
)
_PASSAGES = 32
_SENTENCES_EACH = 6

PARITY_TEXTS = (
    *_SENTENCES,
    *(
        # Steps of 7 over 32 sentences: every passage mixes other ones.
        "\n".join(_SENTENCES[(start + 7 * step) % len(_SENTENCES)] for step in range(_SENTENCES_EACH))
        for start in range(_PASSAGES)
    ),
)
"""Sentences of 1 to 60 tokens, and passages of about as many tokens as a chunk has."""
