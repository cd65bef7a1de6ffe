// Formats values for display.

import { now } from "./clock.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @param {number} value */
export function count(value) {
  return whole.format(value);
}

/**
 * Few characters, for narrow places: 12.3K.
 *
 * @param {number} value
 */
export function compact(value) {
  return value < 10_000 ? whole.format(value) : short.format(value);
}

/** @param {number} value */
export function rate(value) {
  return value < 10 ? tenth.format(value) : compact(Math.round(value));
}

/**
 * @param {number} minor
 * @param {string} currency
 */
export function money(minor, currency) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).format(minor / 100);
  } catch {
    return `${(minor / 100).toFixed(2)} ${currency}`;
  }
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  const ms = Math.max(0, milliseconds);
  if (ms < 1) return "0 ms";
  if (ms < 10) return `${tenth.format(ms)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${tenth.format(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
  if (ms < 172_800_000) return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
  return `${Math.floor(ms / 86_400_000)} days`;
}

/**
 * How long ago, in whole seconds.
 *
 * @param {string | null | undefined} time
 */
export function ago(time) {
  if (!time) return "";
  const seconds = Math.max(0, Math.round((now() - Date.parse(time)) / 1000));
  return seconds < 1 ? "now" : `${duration(seconds * 1000)} ago`;
}

/**
 * How long something has lasted, in whole seconds.
 *
 * @param {string} since
 * @param {number} until when it was last observed, by the gateway's clock
 */
export function lasting(since, until) {
  return duration(Math.max(1, Math.round((until - Date.parse(since)) / 1000)) * 1000);
}

/** @param {string} time */
export function clock(time) {
  const date = new Date(time);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

/**
 * Milliseconds between two RFC 3339 times, with the fractions that `Date` drops.
 *
 * @param {string} from
 * @param {string} to
 */
export function between(from, to) {
  return precise(to) - precise(from);
}

/** @param {string} time */
function precise(time) {
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? "";
  const beyond = fraction.length > 3 ? Number(`0.${fraction.slice(3)}`) : 0;
  return Date.parse(time) + beyond;
}

/**
 * @param {number} number
 * @param {string} thing
 */
export function several(number, thing) {
  return `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
}

/** @param {string} word */
export function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/**
 * The display name of a message: `order.placed.v1` and `order.event.placed.ORDER_001` are both `order.placed`.
 *
 * @param {string} name
 */
export function messageTitle(name) {
  const tokens = name.split(".");
  if (tokens.length === 3 && /^v\d+$/.test(tokens[2] ?? "")) return `${tokens[0]}.${tokens[1]}`;
  if (tokens.length === 4) return `${tokens[0]}.${tokens[2]}`;
  return name;
}
