// Times in the reader's own zone, the countdown, and the filter. Without it, times are in UTC and all launches are shown.
"use strict";

const local = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});
for (const time of document.querySelectorAll("time")) {
  time.title = time.textContent;
  time.textContent = ("about" in time.dataset ? "About " : "") + local.format(new Date(time.dateTime));
}

const countdown = document.querySelector(".countdown");
if (countdown) {
  const net = Date.parse(countdown.dataset.net);
  const two = (number) => String(number).padStart(2, "0");
  const tick = () => {
    const left = Math.abs(Math.round((net - Date.now()) / 1000));
    const days = Math.floor(left / 86400);
    const clock = [Math.floor(left / 3600) % 24, Math.floor(left / 60) % 60, left % 60].map(two).join(":");
    countdown.textContent = `T${Date.now() < net ? "−" : "+"} ${days ? `${days} d ` : ""}${clock}`;
  };
  tick();
  countdown.hidden = false;
  setInterval(tick, 1000);
}

const form = document.querySelector("#filter");
if (form) {
  const rows = [...document.querySelectorAll(".row")];
  const choices = [...form.querySelectorAll("select")];
  const show = () => {
    let shown = 0;
    for (const row of rows) {
      const fits = ({ name, value }) => !value || row.querySelector(`[data-${name}]`)?.textContent === value;
      row.hidden = !choices.every(fits);
      shown += !row.hidden;
    }
    for (const month of document.querySelectorAll(".month")) {
      month.hidden = !month.querySelector(".row:not([hidden])");
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length}`;
  };
  const choose = () => {
    const address = new URL(location);
    for (const { name, value } of choices) {
      address.searchParams.delete(name);
      if (value) address.searchParams.set(name, value);
    }
    history.replaceState(null, "", address);
    show();
  };
  const read = () => {
    const asked = new URL(location).searchParams;
    for (const choice of choices) {
      choice.value = asked.get(choice.name) ?? "";
      if (choice.selectedIndex < 0) choice.value = "";
    }
    show();
  };
  form.addEventListener("change", choose);
  form.addEventListener("reset", () => setTimeout(choose));
  addEventListener("popstate", read);
  form.hidden = false;
  read();
}
