// htmx would add a style sheet to the page and make functions of attributes: the pages' policy allows neither. What
// the style sheet says is in desk.css.
"use strict";
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
