// Creates elements. Nothing here parses HTML, so no content of a message can become markup.

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an HTML element: attributes by name, listeners as functions under `onclick` and the like.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  append(element, children);
  return element;
}

/**
 * Creates an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  append(element, children);
  return element;
}

/**
 * @param {Element} element
 * @param {Record<string, unknown>} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (value === false || value === null || value === undefined) {
      element.removeAttribute(name);
    } else {
      const text = value === true ? "" : String(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === "number" ? String(child) : child);
  }
}

/**
 * Replaces the content of an element.
 *
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * Like `fill` for content without listeners; leaves equal content in place, so that a selection stays.
 *
 * @param {Element} element
 * @param {...Child} children
 */
export function refresh(element, ...children) {
  const next = document.createElement(element.tagName);
  append(next, children);
  if (next.innerHTML !== element.innerHTML) element.replaceChildren(...next.childNodes);
}

/**
 * Changes an element's text if it differs.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Finds an element of the page by its id.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the document has no #${id}`);
  return element;
}

/**
 * Synchronises the children of an element with a list, in its order. An element whose key exists is updated, not
 * recreated, so that focus and selection stay. Items with the same key each get their own element, and other elements
 * are removed: there are as many children as items, whatever the keys.
 *
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} make
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function keyed(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.getAttribute("data-key"), child]));
  /** @type {Map<string, number>} */
  const times = new Map();
  /** @type {Set<Element>} */
  const kept = new Set();
  /** @type {Element | null} */
  let before = null;
  for (const item of items) {
    const plain = key(item);
    const time = (times.get(plain) ?? 0) + 1;
    times.set(plain, time);
    const name = time > 1 ? `${plain} #${time}` : plain;
    let element = /** @type {HTMLElement | undefined} */ (known.get(name));
    if (!element || kept.has(element)) {
      element = make(item);
      element.dataset.key = name;
    }
    kept.add(element);
    update(element, item);
    /** @type {Element | null} */
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (place !== element) parent.insertBefore(element, place);
    before = element;
  }
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
}
