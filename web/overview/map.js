// The map: services, streams, and the connections between them.

/** @import {OverviewEdge, OverviewState} from "../types.js" */
/** @import {Box, Layout, Point} from "./layout.js" */

import { setText, set, svg } from "../lib/dom.js";
import { compact, rate } from "../lib/format.js";
import { role, SERVICES, shortName } from "../lib/services.js";
import {
  broker,
  deadLetters,
  overview,
  invariants,
  inWords,
  components,
  pendingOf,
  reach,
  status,
} from "../model.js";
import {
  sending,
  COMMANDED,
  commanded,
  CONSUMERS,
  consuming,
  middle,
  publishing,
  PRODUCERS,
} from "./layout.js";

/** The ticks of a queue; above eight, each represents a multiple of the messages of the one before. */
const TICKS = 16;

/** @typedef {{group: SVGGElement, about: SVGTextElement, queue: SVGTextElement, ticks: SVGRectElement[]}} Node */
/** @typedef {{line: SVGPolylineElement, text: SVGTextElement, label: SVGGElement}} Wire */

export class OverviewMap {
  /** @param {SVGSVGElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Map<string, Node>} */
    this.nodes = new Map();
    /** @type {Map<string, Wire>} */
    this.wires = new Map();
    /** @type {Map<string, SVGTextElement>} */
    this.streams = new Map();
    for (const reading of [overview, broker, components, reach, invariants]) reading.watch(() => this.show());
  }

  /**
   * Redraws everything for a width.
   *
   * @param {Layout} map
   */
  fit(map) {
    set(this.root, { viewBox: `0 0 ${map.width} ${map.height}`, width: map.width, height: map.height });
    this.root.replaceChildren();
    this.nodes.clear();
    this.wires.clear();
    this.streams.clear();
    this.wire("sending", sending(map), "command");
    for (const name of COMMANDED) this.wire(`command ${name}`, commanded(map, name), "command");
    for (const name of PRODUCERS) this.wire(`publishes ${name}`, publishing(map, name), "event");
    for (const name of CONSUMERS) this.wire(`consumes ${name}`, consuming(map, name), "event");
    this.stream(map, "COMMANDS", map.commands, "command");
    this.stream(map, "EVENTS", map.events, "event");
    this.stream(map, "TIMERS", map.side.timers, "side");
    this.stream(map, "DEAD_LETTERS", map.side.dead_letters, "side");
    this.node("api-gateway", map.gateway);
    for (const name of SERVICES) {
      const box = map.services[name];
      if (box) this.node(name, box);
    }
    for (const wire of this.wires.values()) this.root.append(wire.label);
    this.show();
  }

  /**
   * @param {string} name
   * @param {Point[]} points
   * @param {string} tone
   */
  wire(name, points, tone) {
    const [from, to] = [points[0], points[points.length - 1]];
    if (!from || !to) return;
    const line = svg("polyline", {
      class: `wire ${tone}`,
      points: points.map((point) => `${point.x},${point.y}`).join(" "),
      "marker-end": name.startsWith("consumes") || name.startsWith("command") ? `url(#arrow-${tone})` : null,
    });
    const upright = from.x === to.x;
    // In the open part of the wire, next to the stream that it begins or ends at.
    const x = (from.x + to.x) / 2 + (upright ? 7 : 0);
    const y = (from.y + to.y) / 2 + (upright ? this.lift(name) : -6);
    const text = svg("text", { class: "rate", x, y, "text-anchor": upright ? "start" : "middle" });
    const label = svg("g", { class: `label ${tone}`, visibility: "hidden" }, text);
    this.wires.set(name, { line, text, label });
    this.root.append(line);
  }

  /** @param {string} name */
  lift(name) {
    if (name === "sending") return 0;
    return name.startsWith("command") ? 12 : -4;
  }

  /**
   * @param {Layout} map
   * @param {string} name
   * @param {Box} box
   * @param {string} tone
   */
  stream(map, name, box, tone) {
    const { x, y } = middle(box);
    const lying = map.wide;
    const turn = lying ? null : `rotate(-90 ${x} ${y})`;
    const title = name.replace("_", " ");
    const long = lying ? box.width : box.height;
    const counts = svg("text", {
      class: "count",
      x: x + long / 2 - 12,
      y: y + 4,
      "text-anchor": "end",
      transform: turn,
    });
    this.streams.set(name, counts);
    this.root.append(
      svg(
        "g",
        { class: `stream ${tone} ${lying ? "" : "tight"}`, "data-stream": name },
        svg("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 9 }),
        svg("text", { class: "title", x: x - long / 2 + 12, y: y + 4, transform: turn }, title),
        counts,
      ),
    );
  }

  /**
   * @param {string} name
   * @param {Box} box
   */
  node(name, box) {
    const { x, y, width, height } = box;
    const about = svg("text", { class: "role", x: x + 14, y: y + 42 });
    const queue = svg("text", { class: "queue", x: x + 14, y: y + height - 25 });
    const group = svg(
      "g",
      { class: "node", "data-node": name },
      svg("rect", { class: "body", x, y, width, height, rx: 12 }),
      svg("circle", { class: "dot", cx: x + 18, cy: y + 19, r: 4.5 }),
      svg("text", { class: "name", x: x + 30, y: y + 23 }, width > 185 ? name : shortName(name)),
      about,
      queue,
    );
    /** @type {SVGRectElement[]} */
    const ticks = [];
    if (name !== "api-gateway") {
      const space = width - 28;
      for (let tick = 0; tick < TICKS; tick += 1) {
        const step = space / TICKS;
        const rect = svg("rect", {
          class: "tick",
          x: x + 14 + tick * step,
          y: y + height - 18,
          width: Math.max(2, step - 2),
          height: 7,
          rx: 1.5,
        });
        ticks.push(rect);
        group.append(rect);
      }
    }
    this.nodes.set(name, { group, about, queue, ticks });
    this.root.append(group);
  }

  show() {
    const state = overview.value;
    set(this.root, { "data-condition": overview.condition });
    for (const [name, node] of this.nodes) this.showNode(name, node, state);
    const server = status("nats-server");
    for (const [name, text] of this.streams) {
      if (text.parentElement) set(text.parentElement, { "data-state": server });
      if (name === "DEAD_LETTERS") continue;
      const stream = state?.streams.find((known) => known.name === name);
      setText(text, stream ? compact(stream.messages) : "");
    }
    this.showDeadLetters();
    // Rates are current or absent; there is no last known rate.
    this.showRates(overview.isCurrent ? (state?.edges ?? []) : []);
  }

  /** The stream also has deleted dead letters, so the number comes from the invariants. */
  showDeadLetters() {
    const text = this.streams.get("DEAD_LETTERS");
    const number = deadLetters();
    if (text) setText(text, number === null ? "unknown" : compact(number));
    text?.parentElement?.classList.toggle("alarm", number !== null && number > 0);
  }

  /**
   * @param {string} name
   * @param {Node} node
   * @param {OverviewState | null} state
   */
  showNode(name, node, state) {
    const current = status(name);
    set(node.group, { "data-state": current });
    setText(node.about, current === "running" ? role(name) : inWords(current));
    if (!node.ticks.length) return;
    const pending = pendingOf(state?.services.find((known) => known.name === name));
    setText(node.queue, pending ? `${compact(pending)} pending` : "");
    // One tick is one message for short queues; a full queue is a hundred thousand.
    const full = pending <= 8 ? pending : Math.min(TICKS, 8 + Math.round((Math.log10(pending / 8) / 4) * 8));
    node.ticks.forEach((tick, index) => tick.classList.toggle("full", index < full));
    node.group.classList.toggle("waiting", pending > 0);
  }

  /** @param {OverviewEdge[]} edges */
  showRates(edges) {
    /** @type {Map<string, number>} */
    const rates = new Map();
    const add = (/** @type {string} */ wire, /** @type {number} */ more) =>
      rates.set(wire, (rates.get(wire) ?? 0) + more);
    /** @type {Map<string, number>} */
    const published = new Map();
    for (const edge of edges) {
      if (edge.kind !== "command" && edge.kind !== "event") continue;
      add(`${edge.kind === "command" ? "command" : "consumes"} ${edge.to}`, edge.perSecond);
      // A message is published once, however many services consume it.
      const type = `${edge.kind === "command" ? "sending" : `publishes ${edge.from}`}|${edge.type}`;
      published.set(type, Math.max(published.get(type) ?? 0, edge.perSecond));
    }
    for (const [type, perSecond] of published) add(type.split("|")[0] ?? "", perSecond);
    for (const [name, wire] of this.wires) {
      const perSecond = rates.get(name) ?? 0;
      const shown = perSecond >= 0.1;
      set(wire.label, { visibility: shown ? "visible" : "hidden" });
      if (shown) setText(wire.text, `${rate(perSecond)}/s`);
      wire.line.style.strokeWidth = String(1.5 + Math.min(4.5, Math.log10(1 + perSecond) * 1.5));
      wire.line.classList.toggle("busy", perSecond >= 1);
    }
  }
}
