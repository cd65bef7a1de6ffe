// What the page knows, each kept once: whoever shows it watches it.

/** @import {Config, OverviewSample, OverviewService, OverviewState, Invariants, Component, Order, Page} from "./types.js" */

import { Failure, find, get } from "./lib/api.js";
import { synchronize } from "./lib/clock.js";
import { Feed } from "./lib/feed.js";
import { poll } from "./lib/poll.js";
import { Reading } from "./lib/reading.js";
import { Signal } from "./lib/signal.js";

/** How many orders the list has at most. */
export const LISTED = 25;
/** How long readiness may take: with the time between two questions less than what counts as current. */
const READINESS_TIMEOUT = 1800;
/** The states in which a process cannot answer. */
const DOWN = ["stopped", "paused", "away"];

/**
 * The state of the gateway: `unreachable` if it does not answer, `not-ready` if it answers that something it needs does
 * not. `since` is 0 if it was so when the page was opened.
 *
 * @typedef {{state: "connecting" | "live" | "unreachable" | "not-ready", detail: string, since: number}} Reach
 */

/** @type {Config} */
export const config = { version: "", control: null, natsCommand: null, operations: false };

/** @type {Reading<Reach>} */
export const reach = new Reading(/** @type {Reach} */ ({ state: "connecting", detail: "", since: 0 }));
/** The newest state that the gateway put together while nats-server answered it. */
export const overview = new Reading(/** @type {OverviewState | null} */ (null));
/** Whether nats-server answers the gateway: `running` or `away`. */
export const broker = new Reading("");
/** Whether messages are received as they are published. */
export const flowing = new Signal(false);
/** @type {Signal<OverviewSample>} */
export const sample = new Signal(/** @type {OverviewSample} */ ({ messages: [], seen: 0, shown: 0 }));
/** @type {Reading<Component[]>} */
export const components = new Reading(/** @type {Component[]} */ ([]));
/** @type {Reading<Invariants | null>} */
export const invariants = new Reading(/** @type {Invariants | null} */ (null));
/** @type {Reading<Order[]>} */
export const orders = new Reading(/** @type {Order[]} */ ([]));
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
    state: overviewState,
    messages: (/** @type {OverviewSample} */ messages) => sample.set(messages),
  };
  const feed = new Feed("/overview", listeners, (state) => {
    flowing.set(state === "open");
    if (state === "away") overview.failed("the gateway does not answer");
  });
  reach.watch(({ value }) => value.state === "live" && feed.hurry());
  poll(readGateway, 1000);
  poll(readInvariants, 1000);
  ordersPoll = poll(readOrders, 1000);
  if (config.control) poll(readComponents, 1000);
}

/** @param {OverviewState} state */
function overviewState(state) {
  const at = Date.parse(state.at);
  broker.got(state.broker, at);
  // Without nats-server the gateway repeats what it knew last.
  if (state.broker === "running") overview.got(state, at);
  else overview.failed("nats-server does not answer");
}

async function readGateway() {
  const sent = Date.now();
  try {
    const response = await fetch("/readiness", { signal: AbortSignal.timeout(READINESS_TIMEOUT) });
    synchronize(response, sent);
    const answer = await response.json();
    if (response.ok) reached("live", "");
    else reached("not-ready", failing(answer));
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
    // The gateway may answer what it found a while ago.
    invariants.got(board, Date.parse(board.at));
  } catch (error) {
    invariants.failed(error);
  }
}

async function readOrders() {
  const only = filter.value;
  const status = only ? `&status=${encodeURIComponent(only)}` : "";
  try {
    /** @type {Page<Order> | null} */
    const page = await readFrom("order-service", `/orders?limit=${LISTED}${status}`);
    if (filter.value === only) orders.got(page?.items ?? []);
  } catch (error) {
    if (filter.value === only) orders.failed(error);
  }
}

/** Asks the demo where each process stands. It answers while the gateway and nats-server do not. */
export async function readComponents() {
  await components.read(() => control("GET", "/components"));
}

/**
 * Reads what a service answers, through the gateway; null if it does not exist. What is known to be down is not asked: its
 * silence would hold up other questions. The gateway's own view of a service is no reason: it may be slow, and answer.
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
    throw silent ? new Failure(503, error.code, whyDown(service) || `${service} does not answer`) : error;
  }
}

/**
 * Says why a service does not answer: because of itself or of what is between it and the page. Empty if nothing is known.
 *
 * @param {string} service
 */
export function whyDown(service) {
  for (const name of ["api-gateway", "nats-server", service]) {
    const state = status(name);
    if (DOWN.includes(state))
      return `${name} ${state === "away" ? "does not answer" : `is ${inWords(state)}`}`;
  }
  return "";
}

/** @param {string} name */
export function isDown(name) {
  return DOWN.includes(status(name));
}

/**
 * Messages that a service has yet to handle: undelivered, or delivered and not acknowledged. The one meaning of
 * “pending” on this page.
 *
 * @param {OverviewService | undefined} service
 */
export function pendingOf(service) {
  return service ? service.backlog + service.unacknowledged : 0;
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
    throw new Failure(0, "unreachable", "the demo does not answer");
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

/** How many dead letters there are, without those that were deleted; null if that is not known now. */
export function deadLetters() {
  const check = invariants.isCurrent && invariants.value?.checks.find((one) => one.name === "dead-letters");
  return check && check.status !== "unknown" ? check.examined : null;
}

/**
 * The state of a process that runs and does not do its work is not what one thinks of as running.
 *
 * @param {Component} component
 */
export function stands(component) {
  return component.state === "running" && !component.ready ? "unready" : component.state;
}

/**
 * The state of a process: as the demo reports it, else as far as the gateway knows it. Nothing older than what counts as
 * current is used.
 *
 * @param {string} name
 * @returns {string} `running`, `unready`, `paused`, `stopped`, `starting`, `away`, or `unknown`
 */
export function status(name) {
  const component = components.isCurrent && components.value.find((known) => known.component === name);
  if (component) return stands(component);
  if (name === "api-gateway") return gatewayState();
  if (name === "nats-server") return broker.isCurrent ? broker.value : "unknown";
  const service = overview.isCurrent && overview.value?.services.find((known) => known.name === name);
  return service ? service.state : "unknown";
}

function gatewayState() {
  if (!reach.isCurrent || reach.value.state === "connecting") return "unknown";
  if (reach.value.state === "unreachable") return "away";
  return reach.value.state === "live" ? "running" : "unready";
}

/** @type {Record<string, string>} the states of processes that have other words on the page */
const WORDS = { unready: "not ready", stopped: "down", away: "no response" };

/** @param {string} state */
export function inWords(state) {
  return WORDS[state] ?? state;
}
