"""Words that carry no topic, in Spanish and English.

A word is compared as written and, failing that, without its acute accents: people leave them out
(`que` for `qué`), and most accented function words are function words without the accent too.
Where that is not so, the list says it: `sería` stands here with its accent only (`seria` is
"serious"), and `ACCENTED_CONTENT` holds words that are content because of theirs (`té` is "tea").

Left out on purpose although other lists have them: `us` and `may` (the country, the month), and
verbs that questions ask about (`hacer`, `tener`, `use`, `make`).
"""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    """Return the words that white space separates in `words`."""
    return frozenset(words.split())


ENGLISH = word_set(
    """
    a an the this that these those
    i me my mine myself we our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves
    who whom whose which what when where why how whoever whatever whichever whenever wherever
    and or but nor so yet if then else because as until while although though unless since whether than
    of at by for with about against between into through during before after above below to from
    up down in out on off over under upon within without toward towards among across per via
    again further once here there all any both each few more most other others another some such
    no not only own same too very just also even ever still already quite rather much many
    am is are was were be been being have has had having do does did doing done
    will would shall should can could might must ought
    s t ll re ve d m
    don doesn didn isn aren wasn weren hasn haven hadn won wouldn shouldn couldn cannot
    """
)
"""Includes what an apostrophe leaves behind: `didn` and `t` of "didn't", `s` of "Tesla's"."""

SPANISH = word_set(
    """
    el la lo los las un una unos unas al del
    este esta esto estos estas ese esa eso esos esas aquel aquella aquello aquellos aquellas
    yo me mi mis mio mia mios mias conmigo tu tus te ti tuyo tuya tuyos tuyas contigo usted ustedes vos
    ella ellos ellas ello le les se si su sus suyo suya suyos suyas consigo
    nos nosotros nosotras nuestro nuestra nuestros nuestras os vosotros vosotras vuestro vuestra
    vuestros vuestras
    que quien quienes cual cuales cuyo cuya cuyos cuyas cuando donde adonde como cuanto cuanta cuantos cuantas
    y e o u ni pero sino aunque porque pues mientras ya
    a ante bajo con contra de desde durante en entre hacia hasta mediante para por segun sin sobre tras
    no tambien tampoco muy mas menos tan tanto tanta tantos tantas mucho mucha muchos muchas
    poco poca pocos pocas todo toda todos todas otro otra otros otras mismo misma mismos mismas
    algo alguno alguna algunos algunas algun alguien nada nadie ninguno ninguna ningun cada
    solo aun asi entonces luego ahi alli aqui ademas
    ser es soy eres somos son era eran eras fue fueron fui sido siendo sea sean fuese fuera fueran
    será serán sería serían
    estar estoy estas está estamos estan estaba estaban estuvo estuvieron estando este esten
    haber he has ha hemos han habia habian hubo habrá habrán habría habrían haya hayan hay
    """
)

ACCENTED_CONTENT = frozenset({"té", "tés"})
"""Words that `SPANISH` holds without the accent, and that are no stop words with it."""

_AMBIGUOUS = frozenset({"don", "era", "once", "sea", "son"})
"""Function words of one language that are content in the other: a mixed collection keeps them."""

STOP_WORDS: dict[str, frozenset[str]] = {
    "en": ENGLISH,
    "es": SPANISH,
    "mul": (ENGLISH | SPANISH) - _AMBIGUOUS,
}
"""By analyser language; a language that is not here has none."""
