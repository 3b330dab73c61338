// What the pages can do without: times in the reader's zone, and links that lead out of Airflow's frame.
"use strict";

// The zone that is chosen in Airflow's pages, else the browser's.
function zone() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  try {
    const kept = localStorage.getItem("timezone") || "";
    const chosen = kept.startsWith('"') ? JSON.parse(kept) : kept;
    return chosen && new Intl.DateTimeFormat("en", { timeZone: chosen }) ? chosen : own;
  } catch {
    return own;
  }
}

function showTimes(timeZone) {
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const day = { year: "numeric", month: "2-digit", day: "2-digit" };
  const format = new Intl.DateTimeFormat("en", { timeZone, ...day, ...clock, timeZoneName: "short" });
  for (const time of document.querySelectorAll("time")) {
    const part = Object.fromEntries(format.formatToParts(new Date(time.dateTime)).map(({ type, value }) => [type, value]));
    const utc = document.createElement("small");
    utc.textContent = `${time.dateTime.slice(11, 16)} UTC`;
    time.replaceChildren(`${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute} `, utc);
    time.title = `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute} ${part.timeZoneName}, ${time.title}`;
  }
  for (const name of document.querySelectorAll("[data-zone]")) {
    name.textContent = `those of ${timeZone.replaceAll("_", " ")}, with UTC beside`;
  }
}

// Within Airflow's page ours is in a frame, which a link cannot leave by itself: the page around follows it.
function leadOut() {
  for (const link of document.querySelectorAll("a[data-outside]")) {
    link.addEventListener("click", (event) => {
      const around = window.parent.document.createElement("a");
      around.href = link.href;
      if (link.origin !== location.origin || event.ctrlKey || event.metaKey || event.shiftKey) {
        around.target = "_blank";
        around.rel = "noopener noreferrer";
      }
      event.preventDefault();
      around.click();
    });
  }
}

const chosen = zone();
if (!["UTC", "Etc/UTC"].includes(chosen)) showTimes(chosen);
if (window.parent !== window) leadOut();
