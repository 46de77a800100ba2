// The page: wires the switch, the conversation and the panel to a subscription.

import { Costs, Subscription, TRANSPORTS } from "./client/index.js";
import { Conversation } from "./conversation.js";
import { Panel } from "./panel.js";
import { bytes, offsetOf, seconds, sentence, TITLES } from "./words.js";

const HISTORY = 50;
const PANEL_MS = 250;
/** The server that this page is from. */
const SERVER = new URL(".", location.href);

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const costs = new Costs();
const conversation = new Conversation({ log: $("log"), messages: $("messages"), unsent: $("unsent"), latest: $("latest") });
const panel = new Panel($("costs"), costs, TRANSPORTS);
/** Tells this page's messages from those of others with the same name. */
const me = mark();

let transport = TRANSPORTS.includes(asked.get("transport")) ? asked.get("transport") : "websocket";
let subscription;
let lostAt;
let tries = 0;
let switchedFrom;

$("channel").value = asked.get("channel") || "chat/lobby";
$("name").value = asked.get("name") || remembered("name") || `guest-${me.slice(0, 4)}`;
document.querySelector(`input[name=transport][value=${transport}]`).checked = true;

$("place").addEventListener("submit", (event) => event.preventDefault());
$("channel").addEventListener("change", join);
$("name").addEventListener("change", () => (remember("name", $("name").value.trim()), tellAddress()));
$("transports").addEventListener("change", ({ target }) => change(target.value));
$("poll-every").addEventListener("change", () => subscription.use(transport, pace()));
$("hurry").addEventListener("click", () => subscription.hurry());
$("composer").addEventListener("submit", send);
addEventListener("online", () => subscription.hurry());
addEventListener("pagehide", ({ persisted }) => persisted || subscription.close());

join();
showCosts();
setInterval(showCosts, PANEL_MS);

/** Follows the channel that is named, from its last few publications on. */
function join() {
  const channel = $("channel").value.trim() || "chat/lobby";
  $("channel").value = channel;
  subscription?.close();
  conversation.clear();
  [lostAt, tries, switchedFrom] = [undefined, 0, undefined];
  tellAddress();
  let joined = false;
  subscription = new Subscription(SERVER, channel, { transport, last: HISTORY, costs, ...pace() })
    .on("publication", (publication, { transport }) => conversation.message(publication, transport, me))
    .on("gap", (gap) => conversation.gap(gap))
    .on("bye", (bye) => conversation.bye(bye))
    .on("state", (event, subscription) => {
      if (event.state === "closed") return;
      showState(event);
      if (event.state === "waiting") lost(event);
      if (event.state === "refused") conversation.note(`The server refuses: ${sentence(event.fault.message)}`, "trouble");
      if (event.state !== "open") return;
      opened(event, subscription, joined);
      joined = true;
    });
}

/** Goes on over another transport. */
function change(to) {
  if (to === transport) return;
  switchedFrom ??= transport;
  transport = to;
  tellAddress();
  subscription.use(to, pace());
}

function opened({ transport }, { channel, cursor }, joined) {
  const after = cursor ? `, going on after #${offsetOf(cursor)}` : "";
  const over = TITLES[transport];
  if (lostAt !== undefined) conversation.healed(`Back over ${over} after ${seconds(performance.now() - lostAt)}${after}.`);
  else if (switchedFrom && switchedFrom !== transport) conversation.note(`Switched from ${TITLES[switchedFrom]} to ${over}${after}.`, "switched");
  else if (!joined) conversation.note(`Joined ${channel} over ${over}.`, "joined");
  [lostAt, tries, switchedFrom] = [undefined, 0, undefined];
}

function lost({ waitMs, fault }) {
  lostAt ??= performance.now();
  tries += 1;
  const why = fault ? sentence(fault.message) : "the server ended it.";
  conversation.trouble(`Connection lost: ${why} Trying again in ${seconds(waitMs)}.`, tries);
}

async function send(event) {
  event.preventDefault();
  const [input, from] = [$("message"), $("name").value.trim() || "guest"];
  const text = input.value.trim();
  if (!text) return;
  input.value = "";
  const id = mark();
  conversation.sending(id, text);
  deliver(subscription, { from, text, sender: me, id });
}

/** Publishes; again under the same key, should that be asked for, so that it is never there twice. */
async function deliver(subscription, message) {
  try {
    await subscription.publish(message, { idempotencyKey: message.id });
  } catch (fault) {
    conversation.notSent(message.id, fault.message, () => deliver(subscription, message));
  }
}

function showState({ state, transport, waitMs, fault }) {
  const over = TITLES[transport];
  document.body.dataset.state = state;
  $("state").textContent = {
    connecting: `Connecting over ${over}…`,
    open: transport === "poll" ? "Polling" : `Connected over ${over}`,
    waiting: `Connection lost; trying again in ${seconds(waitMs ?? 0)}`,
    refused: `Refused: ${fault?.message}`,
  }[state];
  $("hurry").hidden = state !== "waiting";
  $("pace").hidden = transport !== "poll" || state !== "open";
}

function showCosts() {
  panel.show(transport);
  const { requests, up, down } = costs.of(transport);
  $("so-far").textContent = `${requests} ${requests === 1 ? "request" : "requests"} · ↑ ${bytes(up)} · ↓ ${bytes(down)}`;
}

function pace() {
  return { pollEveryMs: Number($("poll-every").value) };
}

/** The address of this page leads back to the same place. */
function tellAddress() {
  const query = new URLSearchParams({ channel: $("channel").value, transport });
  history.replaceState(null, "", `?${query}`);
  document.title = `${$("channel").value} · bongsu`;
}

function mark() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a browser keeps for a page; some are told to keep nothing. */
function remembered(name) {
  try {
    return localStorage.getItem(`bongsu.${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`bongsu.${name}`, value);
  } catch {
    // It will be asked again.
  }
}
