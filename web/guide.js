// The first five minutes: six steps, each ticked off when its result was observed.

import { act } from "./breakit.js";
import { byId, el, fill, setText, set } from "./lib/dom.js";
import { config, isDown, components, orders } from "./model.js";
import { detail, open } from "./orders/detail.js";
import { opened } from "./orders/message.js";
import { lastPlaced, lastRepeated, placeOne, placeSame } from "./orders/place.js";

const BROKEN = "inventory-service";

/** @typedef {{title: string, text: string, button: string, command?: string, act: () => void, done: () => boolean}} Step */

/** Observed results of steps, kept because they do not last. */
const seen = { killed: false, waited: "", restarted: false };

/** @type {Step[]} */
const STEPS = [
  {
    title: "Place an order",
    text: "The gateway only stores a command. Watch the map: each service consumes messages, does its part, and publishes events. No service calls another.",
    button: "Place an order",
    act: () => void placeOne(),
    done: () => statusOf(firstPlaced) === "confirmed",
  },
  {
    title: "Kill the inventory",
    text: "A real process, ended with SIGKILL in the middle of its work. It is greyed out on the map.",
    button: "Kill inventory-service",
    command: "cargo run -- kill inventory-service",
    act: () => void act("kill", BROKEN),
    done: () => seen.killed,
  },
  {
    title: "Order again: it waits",
    text: "It is still accepted. The event for the inventory waits in the stream, and the order stays “placed”. No client has to retry.",
    button: "Place another",
    act: () => void placeOne(),
    done: () => seen.waited !== "",
  },
  {
    title: "Start it: the order completes",
    text: "The inventory handles the waiting event, and the order becomes “confirmed” without another request. Every invariant still passes.",
    button: "Start inventory-service",
    command: "cargo run -- start inventory-service",
    act: () => void act("start", BROKEN),
    done: () => seen.restarted,
  },
  {
    title: "Send one order five times",
    text: "A client without a response retries. The result is one order; four duplicates are ignored.",
    button: "Same order ×5",
    act: () => void placeSame(),
    done: () => lastRepeated.value !== null,
  },
  {
    title: "Read the order’s messages",
    text: "Open an order: producers, consumers, times, and ignored duplicates. Choose a message to read its headers and body.",
    button: "Open the last order",
    act: () => {
      const id = lastPlaced.value?.orderId ?? orders.value[0]?.orderId;
      if (id) open(id);
    },
    done: () => opened.value > 0,
  },
];

let firstPlaced = "";
/** The open step; the first unfinished one unless the user has chosen one. */
let chosen = -1;
/** @type {boolean[]} */
const ticked = STEPS.map(() => false);

/** Shows the steps, and checks their results. */
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
    check();
  });
  for (const reading of [components, orders]) reading.watch(() => check());
  for (const signal of [detail, lastRepeated, opened]) signal.watch(() => check());
}

/**
 * The status of an order, if the dashboard has read it.
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

function check() {
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
