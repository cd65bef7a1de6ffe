// Breaking the demo: choose a process, see what each button does to it and what to watch, press.

/** @import {Component} from "./types.js" */

import { reason } from "./lib/api.js";
import { byId, el, keyed, setText, set } from "./lib/dom.js";
import { Outcome } from "./lib/outcome.js";
import { showCondition } from "./lib/reading.js";
import { role } from "./lib/services.js";
import { Signal } from "./lib/signal.js";
import { config, control, inWords, readComponents, components, status } from "./model.js";

/** For how long acknowledgements are delayed, in seconds. */
const DELAY = 15;

/** The process that the buttons are about. */
const target = new Signal("inventory-service");
/** @type {Outcome} */
let outcome;

/** What to watch while a process is away. */
/** @type {Record<string, string>} */
const WATCH = {
  "api-gateway":
    "This page says that the gateway is unreachable, and nothing can be ordered. Orders under way continue without it.",
  "order-service": "New orders are accepted and wait in COMMANDS; nobody answers for them until it is back.",
  "inventory-service": "Orders stay “placed”; its queue on the map grows, and drains when it is back.",
  "account-service":
    "Orders are paid all the same, from payment-service’s own copy of the accounts. Limits cannot be changed.",
  "payment-service": "Orders stay “reserved”: their stock is held, nobody is charged, and nothing is lost.",
  "notification-service": "Orders are confirmed as always. The mails come later, each once.",
  "payment-provider":
    "Payments stay “capturing”. payment-service asks again, with the same key, until it gets an answer.",
  "nats-server":
    "The gateway answers 503 and the services wait, unready. What they have committed waits in their outboxes.",
};

/** What to watch when a process is back that consumes nothing. */
const RECOVERY = "What failed or waited without it continues by itself.";

/** @param {string} who */
function isConsumer(who) {
  return !["api-gateway", "payment-provider", "nats-server"].includes(who);
}

/** @typedef {{name: (who: string) => string, does: (who: string) => string, watch: (who: string) => string, bad: boolean}} Action */

/** @type {Record<string, Action>} */
const ACTIONS = {
  kill: {
    name: (who) => `Kill ${who}`,
    does: (who) => `SIGKILL: ${who} gets no chance to finish anything, not even what it holds in memory.`,
    watch: (who) => WATCH[who] ?? "",
    bad: true,
  },
  stop: {
    name: (who) => `Stop ${who}`,
    does: (who) => `SIGTERM: ${who} finishes what it has begun, and ends.`,
    watch: (who) => WATCH[who] ?? "",
    bad: true,
  },
  pause: {
    name: (who) => `Pause ${who}`,
    does: (who) =>
      `SIGSTOP: ${who} freezes where it stands and keeps its connections: it looks alive and is not.`,
    watch: (who) =>
      isConsumer(who)
        ? "What was delivered to it is delivered again after 10 s. When it goes on, it must not handle that twice."
        : (WATCH[who] ?? ""),
    bad: true,
  },
  resume: {
    name: (who) => `Resume ${who}`,
    does: (who) => `SIGCONT: ${who} goes on where it was frozen.`,
    watch: (who) =>
      isConsumer(who) ? "Its queue drains. Its inbox ignores duplicates that came meanwhile." : RECOVERY,
    bad: false,
  },
  start: {
    name: (who) => `Start ${who}`,
    does: (who) => `Starts ${who} as it was, on the same data.`,
    watch: (who) =>
      isConsumer(who)
        ? "It handles the messages that are pending for it. No client sends anything again."
        : RECOVERY,
    bad: false,
  },
  cut: {
    name: () => "Cut its connection",
    does: (who) => `The TCP connection between ${who} and nats-server is cut once.`,
    watch: () =>
      "It connects again within a second or two. Acks that were on their way are lost: those messages come twice.",
    bad: true,
  },
  "delay-acks": {
    name: () => `Delay its acks ${DELAY} s`,
    does: (who) =>
      `For ${DELAY} s nothing that ${who} sends reaches nats-server, so the server delivers again.`,
    watch: () =>
      "Open an order in its diagram: duplicates arrive and are dropped. Nothing that must hold breaks.",
    bad: true,
  },
};

/** Shows the panel, where there is something to break. */
export function mountBreakIt() {
  byId("break").hidden = !config.control;
  for (const link of document.querySelectorAll("[data-needs-control]"))
    link.toggleAttribute("hidden", !config.control);
  byId("break-none").hidden = Boolean(config.control);
  if (!config.control) return;
  outcome = new Outcome(byId("break-outcome"));
  components.watch(showComponents);
  let before = target.value;
  target.watch((now) => {
    // What came of an action stands under the process it was done to, and under no other.
    if (now !== before) outcome.clear();
    before = now;
    showComponents();
  });
  byId("redeliver-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (byId("redeliver-number"));
    const messages = Math.min(1000, Math.max(1, Math.round(Number(input.value) || 0)));
    void announce("Redelivering", () => control("POST", "/faults/redeliver", { messages }));
  });
}

function showComponents() {
  const all = components.value;
  showCondition(byId("break"), byId("break-condition"), components);
  keyed(byId("break-components"), all, (component) => component.component, tile, updateTile);
  const chosen = all.find((component) => component.component === target.value);
  if (!chosen) return;
  const possible = [...chosen.actions, ...chosen.faults];
  const fitting = Object.entries(ACTIONS).filter(([name]) => possible.includes(name));
  setText(byId("break-chosen"), chosen.component);
  // Keyed by process too: a card under the pointer must not become one for another process unseen.
  keyed(
    byId("break-actions"),
    fitting,
    ([name]) => `${name} ${chosen.component}`,
    ([name, action]) => card(name, action, chosen.component),
    () => {},
  );
}

/** @param {Component} component */
function tile(component) {
  const name = component.component;
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "component", onclick: () => target.set(name) },
      el("span", { class: "light", "aria-hidden": "true" }),
      el("span", { class: "name" }, name),
      el("span", { class: "state" }),
      el("span", { class: "role" }, role(name)),
    ),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Component} component
 */
function updateTile(element, component) {
  const now = status(component.component);
  const button = element.querySelector("button");
  const state = element.querySelector(".state");
  if (!button || !state) return;
  set(button, { "data-state": now, "aria-pressed": String(component.component === target.value) });
  set(button, { title: component.detail || null });
  const words = inWords(now);
  setText(state, component.process && now !== "stopped" ? `${words} · ${component.process}` : words);
}

/**
 * @param {string} name
 * @param {Action} action
 * @param {string} who
 */
function card(name, action, who) {
  const button = el("button", { type: "button", class: action.bad ? "bad" : "good" }, action.name(who));
  button.addEventListener("click", () => void act(name, who));
  return el(
    "li",
    { class: "card" },
    button,
    el("p", {}, action.does(who)),
    el("p", { class: "watch" }, el("b", {}, "Watch: "), action.watch(who)),
  );
}

/**
 * Does something to a process, and says what was done.
 *
 * @param {string} name
 * @param {string} who
 */
export async function act(name, who) {
  target.set(who);
  const action = ACTIONS[name]?.name(who) ?? name;
  const clear = await announce(action, () => {
    if (name === "disconnect") return control("POST", "/faults/disconnect", { component: who });
    if (name === "delay-acks")
      return control("POST", "/faults/delay-acks", { component: who, seconds: DELAY });
    return control("POST", `/components/${who}/${name}`);
  });
  // The fault ends by itself, and what says that it is there ends with it.
  if (name === "delay-acks") setTimeout(clear, DELAY * 1000);
}

/**
 * Does something, and says what came of it. Returns what takes that back, unless something else was said since.
 *
 * @param {string} action
 * @param {() => Promise<{done?: string}>} ask
 */
async function announce(action, ask) {
  const setText = outcome.begin(`${action} …`);
  try {
    const { done } = await ask();
    setText(false, done ?? "Done.");
  } catch (error) {
    setText(true, `${action}: ${reason(error)}`);
  }
  await readComponents();
  return () => setText(false);
}
