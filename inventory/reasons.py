"""Why stock moved, where our own words have values in them: recorded in English, read in any language."""

from django.utils.translation import gettext_noop

from yousinsa.language import recordable

# Of a stocktake's movements.
COUNTED = recordable(
    gettext_noop("Stocktake: %(counted)d counted, %(on_hand)d on record when counting began")
)
# Of demo data.
SET_TO = recordable(gettext_noop("Set to %(level)d available units by seed_demo."))
# Of units that left the house and arrived nowhere.
LOST_ON_ITS_WAY = recordable(gettext_noop("lost on its way: %(note)s"))
# Of an adjustment at the desk, by the reason that was chosen, where there is a note as well.
ADJUSTED = {
    "counted": recordable(gettext_noop("counted: %(note)s")),
    "found": recordable(gettext_noop("found: %(note)s")),
    "damaged": recordable(gettext_noop("damaged: %(note)s")),
    "lost": recordable(gettext_noop("lost or stolen: %(note)s")),
    "used": recordable(gettext_noop("used as a sample or gift: %(note)s")),
    "mistake": recordable(gettext_noop("entered by mistake: %(note)s")),
    "other": "%(note)s",
}

# Of an adjustment without a note.
for _word in (
    "counted",
    "found",
    "damaged",
    "lost or stolen",
    "used as a sample or gift",
    "entered by mistake",
):
    recordable(_word)
