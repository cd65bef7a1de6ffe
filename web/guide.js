// The first five minutes: six steps that can be done from here, each ticked off when it was really seen.

import { act } from "./breakit.js";
import { byId, el, fill, setText, set } from "./lib/dom.js";
import { config, isDown, components, orders } from "./model.js";
import { detail, open } from "./orders/detail.js";
import { opened } from "./orders/message.js";
import { lastPlaced, lastRepeated, placeOne, placeSame } from "./orders/place.js";

const BROKEN = "inventory-service";

/** @typedef {{title: string, text: string, button: string, command?: string, act: () => void, done: () => boolean}} Step */

/** What was seen, for steps whose evidence goes by. */
const seen = { killed: false, waited: "", restarted: false };

/** @type {Step[]} */
const STEPS = [
  {
    title: "Place an order",
    text: "The gateway only stores a command. Watch it hop: each service hears what was said, does its part, and says so. No service calls another.",
    button: "Place an order",
    act: () => void placeOne(),
    done: () => statusOf(firstPlaced) === "confirmed",
  },
  {
    title: "Kill the inventory",
    text: "A real process, ended with SIGKILL in the middle of whatever it does. It goes dark on the map.",
    button: "Kill inventory-service",
    command: "cargo run -- kill inventory-service",
    act: () => void act("kill", BROKEN),
    done: () => seen.killed,
  },
  {
    title: "Order again: it waits",
    text: "It is accepted as ever. What the inventory should hear waits in the stream, and the order stays “placed”. Nobody has to retry anything.",
    button: "Place another",
    act: () => void placeOne(),
    done: () => seen.waited !== "",
  },
  {
    title: "Start it: it heals",
    text: "The inventory takes up what waited, and the order goes on to “confirmed” without another call. Nothing that must hold was broken.",
    button: "Start inventory-service",
    command: "cargo run -- start inventory-service",
    act: () => void act("start", BROKEN),
    done: () => seen.restarted,
  },
  {
    title: "Send one order five times",
    text: "A client that hears no answer sends again. One flow comes of it; four are suppressed.",
    button: "Same order ×5",
    act: () => void placeSame(),
    done: () => lastRepeated.value !== null,
  },
  {
    title: "Read what happened",
    text: "Open an order: who said what when, who heard it, what came twice and was dropped. Choose a message: it opens to its headers and body.",
    button: "Open the last order",
    act: () => {
      const id = lastPlaced.value?.orderId ?? orders.value[0]?.orderId;
      if (id) open(id);
    },
    done: () => opened.value > 0,
  },
];

let firstPlaced = "";
/** The step that is open; the first that is not done, unless somebody has chosen one. */
let chosen = -1;
/** @type {boolean[]} */
const ticked = STEPS.map(() => false);

/** Shows the steps, and looks what has been seen. */
export function mountGuide() {
  const list = byId("guide-steps");
  STEPS.forEach((step, index) => {
    const button = el("button", { type: "button", class: "tab", onclick: () => choose(index) });
    fill(
      button,
      el("span", { class: "number", "aria-hidden": "true" }, index + 1),
      el("span", {}, step.title),
      el("span", { class: "out-of-sight" }),
    );
    list.append(el("li", {}, button));
  });
  lastPlaced.watch((order) => {
    if (order && !firstPlaced) firstPlaced = order.orderId;
    look();
  });
  for (const reading of [components, orders]) reading.watch(() => look());
  for (const signal of [detail, lastRepeated, opened]) signal.watch(() => look());
}

/**
 * The status of an order, as far as the page has read it.
 *
 * @param {string} id
 */
function statusOf(id) {
  const open = detail.value?.order.value;
  if (open?.orderId === id) return open.status;
  return orders.value.find((order) => order.orderId === id)?.status ?? "";
}

/** @param {number} index */
function choose(index) {
  chosen = index;
  show();
}

function look() {
  const broken = isDown(BROKEN);
  if (broken) seen.killed = true;
  const last = lastPlaced.value?.orderId ?? "";
  if (broken && last && last !== firstPlaced && statusOf(last) === "placed") seen.waited ||= last;
  if (seen.waited && statusOf(seen.waited) === "confirmed") seen.restarted = true;
  STEPS.forEach((step, index) => {
    if (ticked[index] || !step.done()) return;
    ticked[index] = true;
    if (chosen === index) chosen = -1;
  });
  show();
}

function show() {
  const next = ticked.indexOf(false);
  const current = chosen >= 0 ? chosen : next < 0 ? STEPS.length - 1 : next;
  const step = STEPS[current];
  if (!step) return;
  [...byId("guide-steps").children].forEach((item, index) => {
    const done = ticked[index] === true;
    set(item, { class: `${done ? "done" : ""} ${index === current ? "current" : ""}`.trim() });
    const button = item.firstElementChild;
    if (button) set(button, { "aria-current": index === current ? "step" : null });
    const hidden = item.querySelector(".out-of-sight");
    if (hidden) setText(hidden, done ? " (done)" : "");
  });
  setText(byId("guide-text"), step.text);
  const button = byId("guide-go");
  const without = Boolean(step.command) && !config.control;
  button.hidden = without;
  byId("guide-command").hidden = !without;
  setText(byId("guide-command"), step.command ?? "");
  setText(button, step.button);
  button.onclick = () => step.act();
  byId("guide").classList.toggle("finished", next < 0);
}
