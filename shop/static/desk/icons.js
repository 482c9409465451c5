// The theme's icons are words in a font: "filter_list Filters". A link or button that has words of its own is
// read aloud without its icon's.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  for (const icon of document.querySelectorAll(":is(a, button) .material-symbols-outlined")) {
    const control = icon.closest("a, button");
    const named = control.title || control.ariaLabel || control.innerText.trim() !== icon.innerText.trim();
    if (named) icon.ariaHidden = "true";
  }
});
