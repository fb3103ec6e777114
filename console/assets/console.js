// The pages work without this. With it an open incident follows its log, countdowns count, buttons that cannot be
// undone ask first, and record ids can be copied.
"use strict";

const pad = (number) => String(number).padStart(2, "0");

function tick() {
  const now = Date.now();
  for (const clock of document.querySelectorAll("[data-deadline]")) {
    const left = Math.floor((Date.parse(clock.dataset.deadline) - now) / 1000);
    clock.classList.toggle("late", left < 60);
    if (left < 0) {
      clock.textContent = "time is over";
      continue;
    }
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    clock.textContent = hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds)}` : `${minutes}:${pad(seconds)}`;
  }
}

function showCopyButtons() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) event.preventDefault();
  if (button.dataset.copy) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  }
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});

// What somebody is filling in stays as it is.
function isInUse(region) {
  if (region.contains(document.activeElement) && document.activeElement !== document.body) return true;
  return [...region.querySelectorAll("input:not([type=hidden]), textarea")].some(
    (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked,
  );
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    const touched = region.hasAttribute("data-careful") || region.querySelector("form");
    if (!next) {
      if (!(touched && isInUse(region))) region.replaceChildren();
    } else if (next.innerHTML !== region.innerHTML && !(touched && isInUse(region))) {
      const open = [...region.querySelectorAll("details")].map((one) => one.open);
      region.innerHTML = next.innerHTML;
      if (region.hasAttribute("data-careful")) {
        [...region.querySelectorAll("details")].forEach((one, place) => (one.open = open[place] ?? one.open));
      }
    }
  }
  const head = fresh.querySelector(".headline");
  const shown = document.querySelector(".headline");
  if (head && shown) shown.innerHTML = head.innerHTML;
  tick();
  showCopyButtons();
}

function follow(address) {
  let waiting = false;
  const stream = new EventSource(address);
  stream.addEventListener("record", () => {
    if (waiting) return;
    waiting = true;
    setTimeout(async () => {
      waiting = false;
      await refresh();
    }, 250);
  });
}

tick();
setInterval(tick, 1000);
showCopyButtons();
const address = document.querySelector("main")?.dataset.stream;
if (address) follow(address);

// A page that comes back from the browser's memory may be sent again; the server knows what it has.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
