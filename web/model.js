// What the page knows, each kept once: whoever shows it watches it.

/** @import {Config, FlowSample, FlowState, Invariants, Member, Order, Page} from "./types.js" */

import { Failure, get } from "./lib/api.js";
import { Feed } from "./lib/feed.js";
import { poll } from "./lib/poll.js";
import { Signal } from "./lib/signal.js";

/** How many orders the list has at the most. */
export const LISTED = 25;

/**
 * Where the gateway stands: `away` where it does not answer, `cut-off` where it answers that something it needs does not.
 *
 * @typedef {{state: "connecting" | "live" | "away" | "cut-off", detail: string, since: number}} Reach
 */

/** @type {Config} */
export const config = { version: "", control: null, natsCommand: null, operations: false };

/** @type {Signal<Reach>} */
export const reach = new Signal(
  /** @type {Reach} */ ({ state: "connecting", detail: "", since: Date.now() }),
);
/** @type {Signal<FlowState | null>} */
export const flow = new Signal(/** @type {FlowState | null} */ (null));
/** Whether what happens is heard of as it happens. */
export const flowing = new Signal(false);
/** @type {Signal<FlowSample>} */
export const sample = new Signal(/** @type {FlowSample} */ ({ messages: [], seen: 0, shown: 0 }));
/** @type {Signal<Member[] | null>} */
export const members = new Signal(/** @type {Member[] | null} */ (null));
/** @type {Signal<Invariants | null>} */
export const invariants = new Signal(/** @type {Invariants | null} */ (null));
/** @type {Signal<Order[]>} */
export const orders = new Signal(/** @type {Order[]} */ ([]));
/** The order that is looked at. */
export const selected = new Signal("");
/** Only orders that stand there. */
export const filter = new Signal("");

/** @type {{now: () => void} | null} */
let ordersPoll = null;

/** Asks for the orders now, and not only at the next turn. */
export function refreshOrders() {
  ordersPoll?.now();
}

/** Begins to look. */
export async function start() {
  Object.assign(config, await get("/web/config.json"));
  const listeners = {
    state: (/** @type {FlowState} */ state) => flow.set(state),
    messages: (/** @type {FlowSample} */ messages) => sample.set(messages),
  };
  const feed = new Feed("/flow", listeners, (state) => flowing.set(state === "open"));
  reach.watch(({ state }) => state === "live" && feed.hurry());
  poll(lookAtGateway, 1500);
  poll(lookAtInvariants, 2000);
  ordersPoll = poll(lookAtOrders, 1000);
  if (config.control) poll(lookAtMembers, 1000);
}

async function lookAtGateway() {
  try {
    const response = await fetch("/readiness", { signal: AbortSignal.timeout(4000) });
    const answer = await response.json();
    if (response.ok) reached("live", "");
    else reached("cut-off", failing(answer));
  } catch {
    reached("away", "");
  }
}

/** @param {{checks?: Record<string, {ok: boolean, detail: string}>}} readiness */
function failing(readiness) {
  const checks = Object.values(readiness.checks ?? {}).filter((check) => !check.ok);
  return checks[0]?.detail ?? "";
}

/**
 * @param {Reach["state"]} state
 * @param {string} detail
 */
function reached(state, detail) {
  const known = reach.value;
  if (known.state === state && known.detail === detail) return;
  reach.set({ state, detail, since: known.state === state ? known.since : Date.now() });
}

async function lookAtInvariants() {
  invariants.set(await get("/invariants"));
}

async function lookAtOrders() {
  const status = filter.value ? `&status=${encodeURIComponent(filter.value)}` : "";
  /** @type {Page<Order>} */
  const page = await get(`/orders?limit=${LISTED}${status}`);
  orders.set(page.items);
}

/** Asks the demo where each process stands. It answers while the gateway and nats-server do not. */
export async function lookAtMembers() {
  members.set(await control("GET", "/members"));
}

/**
 * Asks the demo's control something.
 *
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function control(method, path, body) {
  if (!config.control) throw new Failure(0, "no-control", "Only the demo can be broken from here.");
  const { url, token } = config.control;
  /** @type {Response} */
  let response;
  try {
    response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(70_000),
    });
  } catch {
    throw new Failure(0, "away", "The demo does not answer; was it ended?");
  }
  const text = await response.text();
  /** @type {any} */
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = { done: text, error: text };
  }
  if (!response.ok)
    throw new Failure(response.status, "refused", answer.error || `The answer was ${response.status}.`);
  return answer;
}

/**
 * A process that runs and does not do its work is not what one thinks of as running.
 *
 * @param {Member} member
 */
export function stands(member) {
  return member.state === "running" && !member.ready ? "unready" : member.state;
}

/**
 * Where a process stands: as the demo says, else as far as the feed tells.
 *
 * @param {string} name
 * @returns {string} `running`, `unready`, `paused`, `stopped`, `starting`, `away`, or `unknown`
 */
export function standing(name) {
  const member = members.value?.find((known) => known.member === name);
  if (member) return stands(member);
  if (name === "nats-server") return flow.value?.broker ?? "unknown";
  if (name === "api-gateway") return reach.value.state === "away" ? "away" : "running";
  return flow.value?.services.find((service) => service.name === name)?.state ?? "unknown";
}
