// Customer accounts and their credit limits.

/** @import {Account} from "../types.js" */

import { Failure, reason, write } from "../lib/api.js";
import { byId, el, keyed, setText } from "../lib/dom.js";
import { money } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { Reading, showCondition } from "../lib/reading.js";
import { readFrom } from "../model.js";
import { change } from "./cells.js";
import { customers } from "./customers.js";

/** The largest limit that can be set here, in whole units of its currency. */
const MAX_SHOWN = 10_000_000;

/** @type {Reading<Account[]>} */
const accounts = new Reading(/** @type {Account[]} */ ([]));
/** The id of the account whose limit is being edited. */
let editing = "";
/** @type {{now: () => void} | null} */
let polling = null;

export function mountAccounts() {
  polling = poll(() => accounts.read(query), 2000);
  accounts.watch(({ value }) => {
    const empty = value.length ? "" : "No accounts.";
    showCondition(byId("accounts"), byId("accounts-condition"), accounts, empty);
    keyed(byId("accounts-rows"), value, (account) => account.customerId, row, update);
  });
  const dialog = /** @type {HTMLDialogElement} */ (byId("limit"));
  byId("limit-cancel").addEventListener("click", () => dialog.close());
  byId("limit-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void save(dialog);
  });
}

async function query() {
  /** @type {(Account | null)[]} */
  const found = await Promise.all(
    customers().map((id) => readFrom("account-service", `/accounts/${encodeURIComponent(id)}`)),
  );
  return found.filter((account) => account !== null);
}

/** @param {string} customerId */
function known(customerId) {
  return accounts.value.find((account) => account.customerId === customerId);
}

/** @param {Account} account */
function row({ customerId, name }) {
  const button = el(
    "button",
    { type: "button", class: "small", "aria-label": `Change the limit of ${name}` },
    "Change",
  );
  button.addEventListener("click", () => edit(customerId));
  const who = el(
    "th",
    { scope: "row" },
    name,
    el("small", {}, customerId),
    el("small", { class: "card-of" }),
  );
  return el("tr", {}, who, el("td", { class: "number" }), el("td", {}, button));
}

/**
 * @param {HTMLElement} element
 * @param {Account} account
 */
function update(element, { card, creditLimit }) {
  change(element.querySelector(".card-of"), card ? `${card.brand} ··${card.lastFour}` : "no card");
  change(element.querySelector("td"), money(creditLimit.amount, creditLimit.currency));
}

/** @param {string} customerId */
function edit(customerId) {
  const account = known(customerId);
  if (!account) return;
  editing = customerId;
  const input = /** @type {HTMLInputElement} */ (byId("limit-amount"));
  input.value = String(account.creditLimit.amount / 100);
  setText(byId("limit-title"), `Credit limit of ${account.name}`);
  setText(byId("limit-unit"), account.creditLimit.currency);
  setText(byId("limit-outcome"), "");
  /** @type {HTMLDialogElement} */ (byId("limit")).showModal();
  input.select();
}

/**
 * Changes the limit with the version that was read, so that no concurrent change is overwritten.
 *
 * @param {HTMLDialogElement} dialog
 */
async function save(dialog) {
  const account = known(editing);
  const amount = Number(/** @type {HTMLInputElement} */ (byId("limit-amount")).value);
  if (!account || !Number.isFinite(amount) || amount < 0 || amount > MAX_SHOWN) {
    setText(byId("limit-outcome"), `The limit must be a number from 0 to ${MAX_SHOWN}.`);
    return;
  }
  const { customerId, version, ...details } = account;
  const changed = { ...details, creditLimit: { ...details.creditLimit, amount: Math.round(amount * 100) } };
  try {
    await write("PUT", `/accounts/${encodeURIComponent(customerId)}`, changed, {
      "if-match": `"${version}"`,
    });
    dialog.close();
  } catch (error) {
    const late = error instanceof Failure && error.status === 412;
    setText(
      byId("limit-outcome"),
      late ? "The account has changed meanwhile. The dashboard reads it again." : reason(error),
    );
  }
  polling?.now();
}
