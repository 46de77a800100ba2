// The conversation as it is seen: messages, and between them what happened to the connection. Used by the page alone.

import { element, offsetOf, seconds, sentence, TITLES } from "./words.js";

/** Older entries leave the page; the channel still has what it retains. */
const ENTRIES_MAX = 500;
/** How near its end a reader must be to be taken along. */
const NEAR_PX = 60;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export class Conversation {
  #log;
  #messages;
  #unsent;
  #latest;
  #trouble;

  constructor({ log, messages, unsent, latest }) {
    this.#log = log;
    this.#messages = messages;
    this.#unsent = unsent;
    this.#latest = latest;
    log.addEventListener("scroll", () => this.#isAtEnd() && (latest.hidden = true), { passive: true });
    latest.addEventListener("click", () => this.#toEnd());
    new ResizeObserver(() => latest.hidden && this.#toEnd()).observe(log);
  }

  /** Empties it, for another channel. */
  clear() {
    this.#messages.replaceChildren();
    this.#unsent.replaceChildren();
    this.#trouble = undefined;
  }

  /** A publication came, over this transport; `me` is the sender's mark that makes it one's own. */
  message({ data, position, time }, transport, me) {
    const { from, text, sender, id } = understood(data);
    const item = element("li", sender === me ? "message own" : "message");
    item.dataset.position = position;
    item.append(element("b", "from", sender === me ? "You" : from), element("p", "text", text));
    const meta = element("small", "meta", `${clock.format(new Date(time))} · #${offsetOf(position)} · ${TITLES[transport]}`);
    meta.title = `position ${position}, received over ${TITLES[transport]}`;
    item.append(meta);
    if (sender === me) this.sent(id);
    this.#add(item);
  }

  /** A message of one's own is on its way. */
  sending(id, text) {
    const item = element("li", "message own unsent");
    item.dataset.id = id;
    item.append(element("p", "text", text), element("small", "meta", "on its way…"));
    this.#unsent.append(item);
    this.#toEnd();
  }

  /** It came back over the channel. */
  sent(id) {
    this.#pending(id)?.remove();
  }

  /** It could not be published; `again` tries once more, under the same key. */
  notSent(id, why, again) {
    const item = this.#pending(id);
    if (!item) return;
    const button = element("button", "quiet", "Send again");
    button.type = "button";
    button.addEventListener("click", () => {
      item.querySelector(".meta").textContent = "on its way…";
      button.remove();
      again();
    });
    item.querySelector(".meta").textContent = `not sent: ${why}`;
    item.append(button);
  }

  /** Something that happened, beside the messages. */
  note(text, kind = "plain") {
    const item = element("li", `note ${kind}`, text);
    item.dataset.kind = kind;
    this.#add(item);
    return item;
  }

  /** What was lost, as the server says it. */
  gap({ asked, resumed, reason }) {
    const item = this.note(gapText(asked, resumed, reason), "gap");
    item.dataset.reason = reason;
  }

  /** The server ends the connection. */
  bye({ reason, reconnect_ms }) {
    const back = reconnect_ms === null || reconnect_ms === undefined ? "" : ` It asks to come back in ${seconds(reconnect_ms)}.`;
    this.note(`The server says goodbye: ${sentence(reason)}${back}`, "bye");
  }

  /** The connection is lost. However often it is tried again, this is one entry. */
  trouble(text, tries) {
    const whole = tries > 1 ? `${text} (try ${tries})` : text;
    if (this.#trouble?.isConnected) this.#trouble.textContent = whole;
    else this.#trouble = this.note(whole, "trouble");
  }

  /** And is there again. */
  healed(text) {
    this.#trouble = undefined;
    this.note(text, "healed");
  }

  #pending(id) {
    return [...this.#unsent.children].find((item) => item.dataset.id === id);
  }

  #add(item) {
    const follow = this.#isAtEnd();
    this.#messages.append(item);
    while (this.#messages.childElementCount > ENTRIES_MAX) this.#messages.firstElementChild.remove();
    if (follow) this.#toEnd();
    else this.#latest.hidden = false;
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#latest.hidden = true;
  }
}

/** A publication of this page has a sender; others, such as one by curl, are whatever they are. */
function understood(data) {
  if (data instanceof Uint8Array) return { from: "bytes", text: `${data.length} bytes` };
  if (typeof data === "string") return { from: "anonymous", text: data };
  const { from, text, sender, id } = data ?? {};
  if (typeof text === "string" && typeof from === "string") return { from, text, sender, id };
  return { from: "data", text: JSON.stringify(data) };
}

function gapText(asked, resumed, reason) {
  const [before, after] = [offsetOf(asked), offsetOf(resumed)];
  const on = `It goes on after #${after}.`;
  if (reason === "epoch") return `Gap: the channel has begun anew, so what came after #${before} of its former life cannot be known. ${on}`;
  if (reason === "trimmed") return `Gap: ${after - before} messages after #${before} are no longer kept. ${on}`;
  if (reason === "future") return `Gap: #${before} has not been published yet. ${on}`;
  return `Gap (${reason}): what came after #${before} is lost. ${on}`;
}
