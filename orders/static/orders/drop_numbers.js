// Refreshes the live numbers on a drop's page, as long as somebody looks at it.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const section = document.getElementById("drop-numbers");
  if (!section) return;
  const stale = section.querySelector("[data-stale]");
  const refresh = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(section.dataset.url, { credentials: "same-origin" });
        if (!answer.ok) throw new Error(answer.status);
        const numbers = await answer.json();
        for (const cell of section.querySelectorAll("[data-number]")) {
          cell.textContent = numbers[cell.dataset.number];
        }
        stale.hidden = true;
      } catch {
        stale.hidden = false;
      }
    }
    setTimeout(refresh, 2000);
  };
  setTimeout(refresh, 2000);
});
