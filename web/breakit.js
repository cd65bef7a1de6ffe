// Breaking the demo: choose a process, see what each button does to it and what to watch, press.

/** @import {Member} from "./types.js" */

import { reason } from "./lib/api.js";
import { byId, el, fill, keyed, say, set } from "./lib/dom.js";
import { role } from "./lib/services.js";
import { Signal } from "./lib/signal.js";
import { config, control, lookAtMembers, members, stands } from "./model.js";

/** The process that the buttons are about. */
const target = new Signal("inventory-service");

/** What to watch while a process is away. */
/** @type {Record<string, string>} */
const WATCH = {
  "api-gateway":
    "This page says that the gateway is away, and nothing can be ordered. What is under way goes on without it.",
  "order-service": "New orders are accepted and wait in COMMANDS; nobody answers for them until it is back.",
  "inventory-service": "Orders stay “placed”; its queue on the map grows, and drains when it is back.",
  "account-service":
    "Orders are paid all the same, from payment-service’s own copy of the accounts. Limits cannot be changed.",
  "payment-service": "Orders stay “reserved”: their stock is held, nobody is charged, and nothing is lost.",
  "notification-service": "Orders are confirmed as always. The mails come later, each once.",
  "payment-provider":
    "Payments stay “capturing”. payment-service asks again, with the same key, until it hears.",
  "nats-server":
    "The gateway answers 503 and the services wait, unready. What they have committed waits in their outboxes.",
};

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
    watch: () =>
      "What was delivered to it is delivered again after 10 s. When it goes on, it must not handle that twice.",
    bad: true,
  },
  resume: {
    name: (who) => `Resume ${who}`,
    does: (who) => `SIGCONT: ${who} goes on where it was frozen.`,
    watch: () => "Its queue drains. Duplicates that came meanwhile are dropped by its inbox.",
    bad: false,
  },
  start: {
    name: (who) => `Start ${who}`,
    does: (who) => `Starts ${who} as it was, on the same data.`,
    watch: () =>
      "It takes up what waited for it, and what waited goes on by itself. Nobody sends anything again.",
    bad: false,
  },
  cut: {
    name: () => "Cut its connection",
    does: (who) => `The TCP connection between ${who} and nats-server is cut once.`,
    watch: () =>
      "It connects again within a second or two. Acks that were on their way are lost: those messages come twice.",
    bad: true,
  },
  "hold-acks": {
    name: () => "Hold its acks for 15 s",
    does: (who) => `For 15 s nothing that ${who} sends reaches nats-server, so the server delivers again.`,
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
  members.watch((all) => showMembers(all ?? []));
  target.watch(() => showMembers(members.value ?? []));
  byId("redeliver-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (byId("redeliver-number"));
    const messages = Math.min(1000, Math.max(1, Math.round(Number(input.value) || 0)));
    void tell(() => control("POST", "/faults/redeliver", { messages }));
  });
}

/** @param {Member[]} all */
function showMembers(all) {
  keyed(byId("break-members"), all, (member) => member.member, tile, updateTile);
  const chosen = all.find((member) => member.member === target.value);
  if (!chosen) return;
  const possible = [...chosen.actions, ...chosen.faults];
  const fitting = Object.entries(ACTIONS).filter(([name]) => possible.includes(name));
  say(byId("break-chosen"), chosen.member);
  // Keyed by process too: a card under the pointer must not become one for another process unseen.
  keyed(
    byId("break-actions"),
    fitting,
    ([name]) => `${name} ${chosen.member}`,
    ([name, action]) => card(name, action, chosen.member),
    () => {},
  );
}

/** @param {Member} member */
function tile(member) {
  const name = member.member;
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "member", onclick: () => target.set(name) },
      el("span", { class: "light", "aria-hidden": "true" }),
      el("span", { class: "name" }, name),
      el("span", { class: "state" }),
      el("span", { class: "role" }, role(name)),
    ),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Member} member
 */
function updateTile(element, member) {
  const now = stands(member);
  const button = element.querySelector("button");
  const state = element.querySelector(".state");
  if (!button || !state) return;
  set(button, { "data-state": now, "aria-pressed": String(member.member === target.value) });
  set(button, { title: member.detail || null });
  say(state, member.process && now !== "stopped" ? `${now} · ${member.process}` : now);
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
  await tell(() => {
    if (name === "cut") return control("POST", "/faults/cut", { member: who });
    if (name === "hold-acks") return control("POST", "/faults/hold-acks", { member: who, seconds: 15 });
    return control("POST", `/members/${who}/${name}`);
  });
}

/** @param {() => Promise<{done?: string}>} ask */
async function tell(ask) {
  const line = byId("break-outcome");
  line.classList.remove("bad");
  say(line, "…");
  try {
    const { done } = await ask();
    fill(line, done ?? "Done.");
  } catch (error) {
    line.classList.add("bad");
    fill(line, reason(error));
  }
  await lookAtMembers().catch(() => {});
}
