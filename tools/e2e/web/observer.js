// Checks every panel of the dashboard ten times a second and records statements that cannot be true. Runs inside the
// browser, so it uses nothing from outside its function.

/**
 * The fault that the test injected: the process that is down, since when, and which panels depend on it.
 *
 * @typedef {{process: string, since: number, panels: string[]}} Fault
 */

/** Begins to check; findings are in `untruths`, and the test sets `fault`. */
export function observer() {
  /** The age up to which values count as current, plus the time to notice, in milliseconds. */
  const CURRENT = 3000 + 700;
  const shared = /** @type {any} */ (globalThis);
  /** @type {Set<string>} */
  shared.untruths = new Set();
  /** @type {Fault | null} */
  shared.fault = null;

  const one = (/** @type {string} */ selector) => document.querySelector(selector);
  const all = (/** @type {string} */ selector) => [...document.querySelectorAll(selector)];
  const text = (/** @type {Element | null | undefined} */ element) => element?.textContent?.trim() ?? "";
  const condition = (/** @type {Element | null} */ panel) => panel?.getAttribute("data-condition");
  const claim = (/** @type {boolean} */ truth, /** @type {string} */ what) => {
    if (!truth) shared.untruths.add(`${shared.fault?.process ?? "nothing"} down: ${what}`);
  };

  const check = () => {
    oneNumber();
    checks();
    emptiness();
    finalOrders();
    rows();
    if (shared.fault) down(shared.fault);
  };

  /** Header, map, and chart show the same number of pending messages, or none. */
  function oneNumber() {
    const header = text(one("#figure-pending"));
    const legend = all("#chart-pending-legend b").map(text);
    if (condition(one("#overview")) !== "current") {
      const figures = ["#figure-rate", "#figure-p50", "#figure-p99", "#figure-pending"].map((id) =>
        text(one(id)),
      );
      claim(
        [...figures, ...all("#charts .legend b").map(text)].every((figure) => figure === "–"),
        "an outdated figure is shown as current",
      );
      return;
    }
    const sum = (/** @type {string[]} */ numbers) =>
      numbers.reduce((total, number) => total + (parseInt(number.replaceAll(",", ""), 10) || 0), 0);
    const map = sum(all("#map-drawing .queue").map(text));
    // From ten thousand on the map rounds them.
    if (map < 10_000 && all("#map-drawing .queue").length) {
      claim(header === map.toLocaleString("en"), `header ${header} pending, map ${map}`);
      claim(!legend.length || sum(legend) === map, `chart ${legend.join()} pending, map ${map}`);
    }
  }

  /** No check passes with an outdated result. */
  function checks() {
    const passing = all("#invariants-list > li[data-status=pass]").length;
    const whole = one("#invariants")?.getAttribute("data-status") === "pass";
    const age = /checked (\d+)(?:\.\d)? s ago/.exec(text(one("#invariants-at")));
    const old = /\d (min|h|days)/.test(text(one("#invariants-at"))) || (age !== null && Number(age[1]) > 4);
    const title = text(one("#invariants-title"));
    claim(!(old && (passing || whole)), `${passing} checks pass with a result of ${age?.[0]}`);
    claim(!(condition(one("#invariants")) !== "current" && (passing || /pass/.test(title))), title);
  }

  /** No panel claims to be empty unless it was read. */
  function emptiness() {
    for (const line of all(".condition:not([hidden])")) {
      const panel = condition(line.closest("[data-condition]"));
      claim(
        !(text(line).startsWith("No ") && panel !== "current" && line.id !== "order-messages"),
        text(line),
      );
      claim(text(line) !== "" || panel === "current", `a panel that is ${panel} does not show it`);
    }
    for (const panel of all("[data-condition=stale] tbody, [data-condition=stale] .list"))
      claim(getComputedStyle(panel).filter.includes("grayscale"), `${panel.id} is stale and not grey`);
  }

  /** A final order waits for nothing, and its status matches its messages. */
  function finalOrders() {
    const final = one("#order-facts .pill.confirmed, #order-facts .pill.cancelled");
    const waiting = all("#order-waits li").filter((line) => /^(Waiting|In progress)/.test(text(line)));
    claim(!(final && waiting.length), `a final order waits: ${text(waiting[0])}`);
    const messages = text(one("#order-diagram"));
    const under = one("#order-facts .pill.placed, #order-facts .pill.reserved");
    claim(!(under && /order\.confirmed/.test(messages)), `${text(under)} over order.confirmed`);
  }

  /** Every list has one row per item. */
  function rows() {
    claim(all("#invariants-list > li").length <= 15, "the checks are duplicated");
    for (const list of all(
      "#invariants-list .cases, #orders-list, tbody, #notifications-rows, #map-messages",
    )) {
      const keys = [...list.children].map((child) => child.getAttribute("data-key"));
      claim(new Set(keys).size === keys.length, `two rows of ${list.id} have the same key`);
      claim(keys.length <= 30, `${keys.length} rows in ${list.id || "a check"}`);
    }
  }

  /** @param {Fault} fault */
  function down({ process, since, panels }) {
    if (Date.now() - since < CURRENT) return;
    for (const panel of panels)
      claim(
        condition(one(panel)) !== "current",
        `${panel} is shown as current: ${text(one(panel)).slice(0, 200)}`,
      );
    for (const place of [
      `#map-drawing [data-node="${process}"]`,
      `#break-components [data-key="${process}"] button`,
    ]) {
      const state = one(place)?.getAttribute("data-state");
      claim(state !== "running", `${place} is ${state}`);
    }
    if (!["api-gateway", "nats-server"].includes(process)) return;
    claim(one("#status")?.getAttribute("data-state") !== "live", "the header shows live");
    claim(!all("#map-drawing .label[visibility=visible]").length, "current rates are shown");
    claim(!all("#invariants[data-status=pass], #invariants [data-status=pass]").length, "a check passes");
  }

  const begin = () => setInterval(check, 100);
  if (document.readyState === "complete") begin();
  else addEventListener("load", begin);
}
