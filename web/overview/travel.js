// Animates messages on a canvas: a bounded number at a time, and slowly enough to follow.
//
// A real hop takes milliseconds. Here a message leaves when its cause has arrived, so that cause and effect are
// visible. Nothing is drawn while nothing moves.

/** @import {OverviewMessage} from "../types.js" */
/** @import {Layout, Point} from "./layout.js" */

import { messageTitle, count } from "../lib/format.js";
import { tone } from "../lib/services.js";
import { way } from "./layout.js";

/** The maximum number of animated messages at a time. */
const MAX_SHOWN = 240;
/** The speed in pixels per second, and the minimum and maximum duration of a path in milliseconds. */
const SPEED = 620;
const TAKES = { min: 550, max: 1300 };
/** The maximum delay of a message's start, in milliseconds. */
const BEHIND = 9000;
/** Up to this number, animated messages have labels. */
const NAMED = 10;
/** How many arrivals are kept, for the messages that they cause. */
const REMEMBERED = 600;

/** @typedef {{points: Point[], length: number, from: number, takes: number, tone: string, name: string}} Traveller */

export class Travel {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    /** @type {Traveller[]} */
    this.travellers = [];
    /** @type {Map<string, number>} */
    this.arrivals = new Map();
    /** @type {Layout | null} */
    this.map = null;
    this.frame = 0;
    /** @type {Record<string, string>} */
    this.colours = {};
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** @param {Layout} map */
  fit(map) {
    this.map = map;
    const scale = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(map.width * scale);
    this.canvas.height = Math.round(map.height * scale);
    this.canvas.style.width = `${map.width}px`;
    this.canvas.style.height = `${map.height}px`;
    this.travellers = [];
    this.recolour();
  }

  recolour() {
    const style = getComputedStyle(this.canvas);
    for (const name of ["command", "event", "refusal", "text", "panel"]) {
      this.colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.font = `600 11px ${style.getPropertyValue("--mono")}`;
  }

  /** @param {OverviewMessage[]} messages */
  send(messages) {
    if (!this.map || this.still.matches || document.hidden) return;
    const now = performance.now();
    for (const message of messages) {
      const cause = message.causationId ? this.arrivals.get(message.causationId) : undefined;
      const from = Math.min(Math.max(now, cause ?? now), now + BEHIND);
      let arrives = from;
      let first = true;
      for (const to of message.to) {
        const points = way(this.map, message, to);
        if (!points.length || this.travellers.length >= MAX_SHOWN) continue;
        const length = lengthOf(points);
        const takes = Math.min(TAKES.max, Math.max(TAKES.min, (length / SPEED) * 1000));
        const name = first ? messageTitle(message.type) : "";
        this.travellers.push({ points, length, from, takes, tone: tone(message.subject), name });
        arrives = Math.max(arrives, from + takes);
        first = false;
      }
      this.arrivals.set(message.id, arrives);
    }
    while (this.arrivals.size > REMEMBERED) {
      const oldest = this.arrivals.keys().next().value;
      if (oldest === undefined) break;
      this.arrivals.delete(oldest);
    }
    if (!this.frame && this.travellers.length) this.frame = requestAnimationFrame((at) => this.draw(at));
  }

  clear() {
    this.travellers = [];
  }

  /** Whether a message is moving. */
  get moves() {
    return this.travellers.length > 0;
  }

  /** @param {number} now */
  draw(now) {
    this.frame = 0;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const scale = Math.min(2, devicePixelRatio || 1);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.travellers = this.travellers.filter((one) => now < one.from + one.takes + 160);
    const moving = this.travellers.filter((one) => now >= one.from);
    for (const one of moving) this.tail(context, one, now);
    for (const one of moving) this.head(context, one, now);
    if (moving.length <= NAMED) this.names(context, moving, now);
    if (this.travellers.length) this.frame = requestAnimationFrame((at) => this.draw(at));
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Traveller} one
   * @param {number} now
   */
  tail(context, one, now) {
    const part = progress(one, now);
    if (part >= 1) return;
    context.strokeStyle = this.colours[one.tone] ?? "";
    context.lineWidth = 2.5;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const [back, alpha] of /** @type {[number, number][]} */ ([
      [46, 0.16],
      [26, 0.28],
      [12, 0.5],
    ])) {
      const points = between(one, Math.max(0, part * one.length - back), part * one.length);
      context.globalAlpha = alpha;
      context.beginPath();
      points.forEach((point, index) =>
        index ? context.lineTo(point.x, point.y) : context.moveTo(point.x, point.y),
      );
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /**
   * Commands are diamonds, events are circles: the distinction does not depend on colour alone.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {Traveller} one
   * @param {number} now
   */
  head(context, one, now) {
    const { x, y } = at(one, Math.min(1, progress(one, now)) * one.length);
    const after = (now - one.from - one.takes) / 160;
    const size = after > 0 ? 4.5 + after * 7 : 4.5;
    context.globalAlpha = after > 0 ? Math.max(0, 0.7 * (1 - after)) : 1;
    context.fillStyle = this.colours[one.tone] ?? "";
    context.beginPath();
    if (one.tone === "command") {
      context.moveTo(x, y - size - 1.5);
      context.lineTo(x + size + 1.5, y);
      context.lineTo(x, y + size + 1.5);
      context.lineTo(x - size - 1.5, y);
      context.closePath();
    } else {
      context.arc(x, y, size, 0, 2 * Math.PI);
    }
    context.fill();
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Traveller[]} moving
   * @param {number} now
   */
  names(context, moving, now) {
    context.font = this.font ?? "";
    context.textBaseline = "middle";
    const names = moving.filter((one) => one.name && now < one.from + one.takes);
    /** @type {Map<string, {one: Traveller, times: number}>} */
    const groups = new Map();
    for (const one of names) {
      const place = `${one.name} ${Math.round((now - one.from) / 150)}`;
      const group = groups.get(place);
      if (group) group.times += 1;
      else groups.set(place, { one, times: 1 });
    }
    for (const { one, times } of groups.values()) {
      const { x, y } = at(one, progress(one, now) * one.length);
      const text = times > 1 ? `${one.name} ×${count(times)}` : one.name;
      const width = context.measureText(text).width + 12;
      const left = Math.max(2, Math.min((this.map?.width ?? 0) - width - 2, x + 11));
      const top = Math.max(10, Math.min((this.map?.height ?? 0) - 10, y - 14));
      context.fillStyle = this.colours["panel"] ?? "";
      context.globalAlpha = 0.92;
      context.beginPath();
      context.roundRect(left, top - 9, width, 18, 5);
      context.fill();
      context.globalAlpha = 1;
      context.fillStyle = this.colours[one.tone] ?? "";
      context.fillText(text, left + 6, top + 0.5);
    }
  }
}

/**
 * @param {Traveller} one
 * @param {number} now
 */
function progress(one, now) {
  const part = Math.min(1, Math.max(0, (now - one.from) / one.takes));
  return part < 0.5 ? 2 * part * part : 1 - (-2 * part + 2) ** 2 / 2;
}

/** @param {Point[]} points */
function lengthOf(points) {
  return points.reduce((sum, point, index) => {
    const before = points[index - 1];
    return before ? sum + Math.hypot(point.x - before.x, point.y - before.y) : 0;
  }, 0);
}

/**
 * @param {Traveller} one
 * @param {number} distance
 * @returns {Point}
 */
function at(one, distance) {
  let left = distance;
  for (let index = 1; index < one.points.length; index += 1) {
    const [a, b] = [one.points[index - 1], one.points[index]];
    if (!a || !b) break;
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    if (left <= length) {
      const part = length ? left / length : 0;
      return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
    }
    left -= length;
  }
  return one.points[one.points.length - 1] ?? { x: 0, y: 0 };
}

/**
 * The points of a path from one distance to another.
 *
 * @param {Traveller} one
 * @param {number} from
 * @param {number} to
 * @returns {Point[]}
 */
function between(one, from, to) {
  const points = [at(one, from)];
  let passed = 0;
  for (let index = 1; index < one.points.length - 1; index += 1) {
    const [a, b] = [one.points[index - 1], one.points[index]];
    if (!a || !b) break;
    passed += Math.hypot(b.x - a.x, b.y - a.y);
    if (passed > from && passed < to) points.push(b);
  }
  points.push(at(one, to));
  return points;
}
