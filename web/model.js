// The state of the dashboard, each value stored once; panels watch the values that they show.

/** @import {Config, OverviewSample, OverviewService, OverviewState, Invariants, Component, Order, Page} from "./types.js" */

import { Failure, find, get } from "./lib/api.js";
import { synchronize } from "./lib/clock.js";
import { Feed } from "./lib/feed.js";
import { poll } from "./lib/poll.js";
import { Reading } from "./lib/reading.js";
import { Signal } from "./lib/signal.js";

/** How many orders the list has at most. */
export const LISTED = 25;
/** How long readiness may take: together with the polling interval less than the age that counts as current. */
const READINESS_TIMEOUT = 1800;
/** The states in which a process cannot respond. */
const DOWN = ["stopped", "paused", "unavailable"];

/**
 * The state of the gateway: `unreachable` if it does not respond, `not-ready` if it reports that a dependency is
 * unavailable. `since` is 0 if the state has been the same since the dashboard was opened.
 *
 * @typedef {{state: "connecting" | "live" | "unreachable" | "not-ready", detail: string, since: number}} Reach
 */

/** @type {Config} */
export const config = { version: "", control: null, natsCommand: null, operations: false };

/** @type {Reading<Reach>} */
export const reach = new Reading(/** @type {Reach} */ ({ state: "connecting", detail: "", since: 0 }));
/** The latest state that the gateway read while nats-server was available. */
export const overview = new Reading(/** @type {OverviewState | null} */ (null));
/** Whether nats-server responds to the gateway: `running` or `unavailable`. */
export const broker = new Reading("");
/** Whether the feed of messages is connected. */
export const flowing = new Signal(false);
/** @type {Signal<OverviewSample>} */
export const sample = new Signal(/** @type {OverviewSample} */ ({ messages: [], seen: 0, shown: 0 }));
/** @type {Reading<Component[]>} */
export const components = new Reading(/** @type {Component[]} */ ([]));
/** @type {Reading<Invariants | null>} */
export const invariants = new Reading(/** @type {Invariants | null} */ (null));
/** @type {Reading<Order[]>} */
export const orders = new Reading(/** @type {Order[]} */ ([]));
/** The id of the open order. */
export const selected = new Signal("");
/** Only orders with this status; empty for all. */
export const filter = new Signal("");

/** @type {{now: () => void} | null} */
let ordersPoll = null;

/** Reads the orders now instead of at the next interval. */
export function refreshOrders() {
  ordersPoll?.now();
}

/** Reads the configuration and begins to poll. */
export async function start() {
  Object.assign(config, await get("/web/config.json"));
  const listeners = {
    state: overviewState,
    messages: (/** @type {OverviewSample} */ messages) => sample.set(messages),
  };
  const feed = new Feed("/overview", listeners, (state) => {
    flowing.set(state === "open");
    if (state === "unavailable") overview.failed("the gateway is unreachable");
  });
  reach.watch(({ value }) => value.state === "live" && feed.reconnect());
  poll(readGateway, 1000);
  poll(readInvariants, 1000);
  ordersPoll = poll(readOrders, 1000);
  if (config.control) poll(readComponents, 1000);
}

/** @param {OverviewState} state */
function overviewState(state) {
  const at = Date.parse(state.at);
  broker.got(state.broker, at);
  // Without nats-server the gateway repeats the last known state.
  if (state.broker === "running") overview.got(state, at);
  else overview.failed("nats-server is unreachable");
}

async function readGateway() {
  const sent = Date.now();
  try {
    const response = await fetch("/readiness", { signal: AbortSignal.timeout(READINESS_TIMEOUT) });
    synchronize(response, sent);
    const readiness = await response.json();
    if (response.ok) reached("live", "");
    else reached("not-ready", failing(readiness));
  } catch {
    reached("unreachable", "");
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
  const first = known.state === "connecting";
  const since = known.state === state ? known.since : first && state !== "live" ? 0 : Date.now();
  reach.got({ state, detail, since });
}

async function readInvariants() {
  try {
    /** @type {Invariants} */
    const board = await get("/invariants");
    // The gateway may return a cached result.
    invariants.got(board, Date.parse(board.checkedAt));
  } catch (error) {
    invariants.failed(error);
  }
}

async function readOrders() {
  const only = filter.value;
  const status = only ? `&status=${encodeURIComponent(only)}` : "";
  try {
    /** @type {(Page<Order> & {asOf: string | null}) | null} */
    const page = await readFrom("projection-service", `/orders?limit=${LISTED}${status}`);
    if (filter.value !== only) return;
    // The read model may be behind the orders.
    if (page?.asOf) orders.got(page.items, Date.parse(page.asOf));
    else orders.failed("the search of orders reads its history");
  } catch (error) {
    if (filter.value === only) orders.failed(error);
  }
}

/** Reads the state of each process from the demo, which is available without the gateway and nats-server. */
export async function readComponents() {
  await components.read(() => control("GET", "/components"));
}

/**
 * Reads from a service through the gateway; null if it does not exist. A service that is known to be down is not
 * queried, because the timeout would delay other queries. The gateway's own view is not used for that: a slow service
 * may still reply.
 *
 * @template T
 * @param {string} service
 * @param {string} path
 * @returns {Promise<T | null>}
 */
export async function readFrom(service, path) {
  const component = components.isCurrent && components.value.find((known) => known.component === service);
  const isCertain = component && DOWN.includes(component.state);
  if (isCertain || isDown("api-gateway") || isDown("nats-server"))
    throw new Failure(0, "down", whyDown(service));
  try {
    return await find(path);
  } catch (error) {
    const silent = error instanceof Failure && error.status === 503;
    throw silent ? new Failure(503, error.code, whyDown(service) || `${service} does not respond`) : error;
  }
}

/**
 * Describes why a service does not respond: because of itself or of a process between it and the dashboard. Empty if
 * unknown.
 *
 * @param {string} service
 */
export function whyDown(service) {
  for (const name of ["api-gateway", "nats-server", service]) {
    const state = status(name);
    if (DOWN.includes(state))
      return `${name} ${state === "unavailable" ? "does not respond" : `is ${inWords(state)}`}`;
  }
  return "";
}

/** @param {string} name */
export function isDown(name) {
  return DOWN.includes(status(name));
}

/**
 * The messages that a service has not handled yet: undelivered, or delivered and not acknowledged. “Pending” always has
 * this meaning on the dashboard.
 *
 * @param {OverviewService | undefined} service
 */
export function pendingOf(service) {
  return service ? service.backlog + service.unacknowledged : 0;
}

/**
 * Sends a request to the demo's control API.
 *
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function control(method, path, body) {
  if (!config.control) throw new Failure(0, "no-control", "Faults can be injected in the demo only.");
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
    throw new Failure(0, "unreachable", "the demo is unreachable");
  }
  const text = await response.text();
  /** @type {any} */
  let reply = null;
  try {
    reply = JSON.parse(text);
  } catch {
    reply = { done: text, error: text };
  }
  if (!response.ok)
    throw new Failure(response.status, "refused", reply.error || `The response was ${response.status}.`);
  return reply;
}

/** The number of dead letters, without deleted ones; null if it is unknown. */
export function deadLetters() {
  const check = invariants.isCurrent && invariants.value?.checks.find((one) => one.name === "dead-letters");
  return check && check.status !== "unknown" ? check.examined : null;
}

/**
 * The state of a process; `unready` if it runs and is not ready.
 *
 * @param {Component} component
 */
export function stateOf(component) {
  return component.state === "running" && !component.ready ? "unready" : component.state;
}

/**
 * The state of a process: as the demo reports it, otherwise as the gateway reports it. Outdated reports are ignored.
 *
 * @param {string} name
 * @returns {string} `running`, `unready`, `paused`, `stopped`, `starting`, `unavailable`, or `unknown`
 */
export function status(name) {
  const component = components.isCurrent && components.value.find((known) => known.component === name);
  if (component) return stateOf(component);
  if (name === "api-gateway") return gatewayState();
  if (name === "nats-server") return broker.isCurrent ? broker.value : "unknown";
  const service = overview.isCurrent && overview.value?.services.find((known) => known.name === name);
  return service ? service.state : "unknown";
}

function gatewayState() {
  if (!reach.isCurrent || reach.value.state === "connecting") return "unknown";
  if (reach.value.state === "unreachable") return "unavailable";
  return reach.value.state === "live" ? "running" : "unready";
}

/** @type {Record<string, string>} display names of states, if they differ */
const WORDS = { unready: "not ready", stopped: "down", unavailable: "no response" };

/** @param {string} state */
export function inWords(state) {
  return WORDS[state] ?? state;
}
