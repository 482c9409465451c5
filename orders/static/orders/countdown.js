// Counts down what the server said is left of a hold. Uses no clock of the browser's own but its ticking.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const begun = performance.now();
  const holds = Array.from(document.querySelectorAll("[data-seconds-left]"), (element) => ({
    element,
    seconds: Number(element.dataset.secondsLeft),
  })).filter((hold) => hold.seconds > 0);
  const two = (number) => String(number).padStart(2, "0");
  const timer = setInterval(() => {
    const passed = Math.floor((performance.now() - begun) / 1000);
    for (const { element, seconds } of holds) {
      const left = Math.max(0, seconds - passed);
      const minutes = Math.floor(left / 60);
      element.textContent =
        (minutes >= 60 ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}` : minutes) + `:${two(left % 60)}`;
    }
    if (holds.every((hold) => hold.seconds <= passed)) clearInterval(timer);
  }, 1000);
});
