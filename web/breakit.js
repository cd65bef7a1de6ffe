// Fault injection in the demo: choose a process, read what each button does and what to watch, press.

/** @import {Component} from "./types.js" */

import { reason } from "./lib/api.js";
import { byId, el, keyed, setText, set } from "./lib/dom.js";
import { Outcome } from "./lib/outcome.js";
import { showCondition } from "./lib/reading.js";
import { role } from "./lib/services.js";
import { Signal } from "./lib/signal.js";
import { config, control, inWords, readComponents, components, status } from "./model.js";

/** How long acknowledgements are delayed, in seconds. */
const DELAY = 15;

/** The process that the buttons act on. */
const target = new Signal("inventory-service");
/** @type {Outcome} */
let outcome;

/** What to watch while a process is down. */
/** @type {Record<string, string>} */
const WATCH = {
  "api-gateway":
    "The dashboard shows that the gateway is unreachable, and nothing can be ordered. Orders in progress continue without it.",
  "order-service":
    "New orders are accepted and wait in COMMANDS; order-service handles them when it is back.",
  "inventory-service": "Orders stay “placed”; its queue on the map grows, and drains when it is back.",
  "account-service":
    "Orders are still paid: payment-service has a copy of the accounts. Limits cannot be changed.",
  "payment-service":
    "Orders stay “reserved”: their stock stays reserved, no card is charged, and nothing is lost.",
  "notification-service": "Orders are still confirmed. The e-mails follow later, each once.",
  "projection-service":
    "Orders are processed as before. The list of orders is unavailable, and complete again afterwards.",
  "payment-provider":
    "Payments stay “capturing”. payment-service retries, with the same idempotency key, until it gets a response.",
  "nats-server":
    "The gateway responds with 503, and the services are unready. Committed events wait in their outboxes.",
};

/** What to watch when a process is back that is not a consumer. */
const RECOVERY = "Pending work continues automatically.";

/** @param {string} who */
function isConsumer(who) {
  return !["api-gateway", "payment-provider", "nats-server", "projection-service"].includes(who);
}

/** @typedef {{name: (who: string) => string, does: (who: string) => string, watch: (who: string) => string, bad: boolean}} Action */

/** @type {Record<string, Action>} */
const ACTIONS = {
  kill: {
    name: (who) => `Kill ${who}`,
    does: (who) => `SIGKILL: ${who} ends at once and loses everything in its memory.`,
    watch: (who) => WATCH[who] ?? "",
    bad: true,
  },
  stop: {
    name: (who) => `Stop ${who}`,
    does: (who) => `SIGTERM: ${who} finishes its current work, and ends.`,
    watch: (who) => WATCH[who] ?? "",
    bad: true,
  },
  pause: {
    name: (who) => `Pause ${who}`,
    does: (who) => `SIGSTOP: ${who} freezes and keeps its connections: it looks alive and is not.`,
    watch: (who) =>
      isConsumer(who)
        ? "Its unacknowledged messages are redelivered after 10 s. When it resumes, it must not handle them twice."
        : (WATCH[who] ?? ""),
    bad: true,
  },
  resume: {
    name: (who) => `Resume ${who}`,
    does: (who) => `SIGCONT: ${who} resumes.`,
    watch: (who) =>
      isConsumer(who) ? "Its queue drains. Its inbox ignores duplicates that arrived meanwhile." : RECOVERY,
    bad: false,
  },
  start: {
    name: (who) => `Start ${who}`,
    does: (who) => `Starts ${who} again, with the same data.`,
    watch: (who) => (isConsumer(who) ? "It handles its pending messages. No client has to retry." : RECOVERY),
    bad: false,
  },
  disconnect: {
    name: () => "Disconnect it",
    does: (who) => `The TCP connection between ${who} and nats-server is closed once.`,
    watch: () =>
      "It reconnects within two seconds. Acks in flight are lost, so their messages are redelivered.",
    bad: true,
  },
  "delay-acks": {
    name: () => `Delay its acks ${DELAY} s`,
    does: (who) =>
      `For ${DELAY} s nothing that ${who} sends reaches nats-server, so the server redelivers its messages.`,
    watch: () => "Open an order: its diagram shows duplicates that are dropped. No invariant fails.",
    bad: true,
  },
};

/** Shows the panel if the demo's control API is configured. */
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
    // The outcome of an action belongs to its process, and is removed for another one.
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
  // Keyed by process too: a card under the pointer must not silently change to another process.
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
 * Runs an action on a process, and reports the outcome.
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
  // The fault ends by itself, and its message ends with it.
  if (name === "delay-acks") setTimeout(clear, DELAY * 1000);
}

/**
 * Runs an action, and reports the outcome. Returns a function that clears it, unless another action has begun.
 *
 * @param {string} action
 * @param {() => Promise<{done?: string}>} request
 */
async function announce(action, request) {
  const setText = outcome.begin(`${action} …`);
  try {
    const { done } = await request();
    setText(false, done ?? "Done.");
  } catch (error) {
    setText(true, `${action}: ${reason(error)}`);
  }
  await readComponents();
  return () => setText(false);
}
