// The layout of the map. Pure: from a width to positions and paths.

import { SERVICES } from "../lib/services.js";

/** @typedef {{x: number, y: number}} Point */
/** @typedef {{x: number, y: number, width: number, height: number}} Box */
/**
 * `wide`: services side by side between the two streams; else one below the other.
 *
 * @typedef {{
 *   wide: boolean, width: number, height: number, gateway: Box, commands: Box, events: Box,
 *   services: Record<string, Box>, side: {timers: Box, dead_letters: Box},
 * }} Layout
 */

/** Services that consume commands; they are below the stream of commands. */
export const COMMANDED = ["order-service", "inventory-service", "account-service"];
/** Services that publish events, and services that consume events. */
export const PRODUCERS = ["order-service", "inventory-service", "account-service", "payment-service"];
export const CONSUMERS = [
  "order-service",
  "inventory-service",
  "payment-service",
  "notification-service",
  "projection-service",
];

/** Below this width the map is vertical. */
const UPRIGHT = 620;

/**
 * @param {number} width
 * @returns {Layout}
 */
export function layout(width) {
  return width < UPRIGHT ? upright(width) : wide(width);
}

/**
 * @param {number} width
 * @returns {Layout}
 */
function wide(width) {
  const margin = 4;
  const gap = Math.max(12, Math.min(36, width * 0.022));
  const box = (width - 2 * margin - (SERVICES.length - 1) * gap) / SERVICES.length;
  const left = (/** @type {number} */ column) => margin + column * (box + gap);
  const third = left(2) + box;
  const services = Object.fromEntries(
    SERVICES.map((name, column) => [name, { x: left(column), y: 196, width: box, height: 94 }]),
  );
  return {
    wide: true,
    width,
    height: 404,
    gateway: { x: left(0), y: 6, width: third - margin, height: 52 },
    commands: { x: left(0), y: 108, width: third - margin, height: 32 },
    events: { x: left(0), y: 354, width: width - 2 * margin, height: 40 },
    side: {
      timers: { x: left(3), y: 108, width: box, height: 32 },
      dead_letters: { x: left(4), y: 108, width: box, height: 32 },
    },
    services,
  };
}

/**
 * @param {number} width
 * @returns {Layout}
 */
function upright(width) {
  const bar = 30;
  const space = Math.max(30, Math.min(52, width * 0.12));
  const left = bar + space;
  const box = width - 2 * left;
  const services = Object.fromEntries(
    SERVICES.map((name, row) => [name, { x: left, y: 88 + row * 100, width: box, height: 82 }]),
  );
  const bottom = 88 + (SERVICES.length - 1) * 100 + 82;
  return {
    wide: false,
    width,
    height: bottom + 4,
    gateway: { x: 0, y: 4, width: Math.min(width, left + box), height: 48 },
    commands: { x: 0, y: 82, width: bar, height: 88 + 2 * 100 + 82 - 82 },
    events: { x: width - bar, y: 82, width: bar, height: bottom - 82 },
    side: {
      timers: { x: 0, y: 380, width: bar, height: 72 },
      dead_letters: { x: 0, y: 460, width: bar, height: bottom - 460 },
    },
    services,
  };
}

/**
 * The path of a command from the gateway to its stream.
 *
 * @param {Layout} map
 * @returns {Point[]}
 */
export function sending(map) {
  if (map.wide) {
    const x = map.gateway.x + map.gateway.width / 2;
    return [
      { x, y: map.gateway.y + map.gateway.height },
      { x, y: middle(map.commands).y },
    ];
  }
  const x = middle(map.commands).x;
  return [
    { x, y: map.gateway.y + map.gateway.height },
    { x, y: map.commands.y + 14 },
  ];
}

/**
 * The path from the stream of commands to a service.
 *
 * @param {Layout} map
 * @param {string} service
 * @returns {Point[]}
 */
export function commanded(map, service) {
  const box = map.services[service];
  if (!box) return [];
  if (map.wide) {
    const x = middle(box).x;
    return [
      { x, y: middle(map.commands).y },
      { x, y: box.y },
    ];
  }
  const y = middle(box).y;
  return [
    { x: middle(map.commands).x, y },
    { x: box.x, y },
  ];
}

/**
 * The path from a service to the stream of events.
 *
 * @param {Layout} map
 * @param {string} service
 * @returns {Point[]}
 */
export function publishing(map, service) {
  return port(map, service, 0.28);
}

/**
 * The path from the stream of events to a service.
 *
 * @param {Layout} map
 * @param {string} service
 * @returns {Point[]}
 */
export function consuming(map, service) {
  return port(map, service, 0.72).reverse();
}

/**
 * @param {Layout} map
 * @param {string} service
 * @param {number} at
 * @returns {Point[]}
 */
function port(map, service, at) {
  const box = map.services[service];
  if (!box) return [];
  if (map.wide) {
    const x = box.x + box.width * at;
    return [
      { x, y: box.y + box.height },
      { x, y: middle(map.events).y },
    ];
  }
  const y = box.y + box.height * at;
  return [
    { x: box.x + box.width, y },
    { x: middle(map.events).x, y },
  ];
}

/**
 * The whole path of a message to one of its consumers.
 *
 * @param {Layout} map
 * @param {{kind: string, source: string, stream: string}} message
 * @param {string} to
 * @returns {Point[]}
 */
export function way(map, message, to) {
  if (message.kind === "command") {
    const points = [...sending(map), ...commanded(map, to)];
    return points.length > 2 ? points : [];
  }
  const out = publishing(map, message.source);
  const into = consuming(map, to);
  return out.length && into.length ? [...out, ...into] : [];
}

/** @param {Box} box */
export function middle(box) {
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}
