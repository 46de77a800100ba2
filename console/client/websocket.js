// WebSocket, with the native protocol: one connection for both ways. Publications go out over it too.

import { socketUrl } from "./address.js";
import { ConnectionLost, Refused } from "./faults.js";
import { nativeForm } from "./publish.js";

const SUBPROTOCOL = "bongsu.v1.json";
const SUBSCRIBE_ID = 1;
/** A connection that was silent for so long is asked whether it is there, and given up after as long again. */
const SILENCE_MS = 25_000;

export function websocket(way) {
  return new Promise((resolve, reject) => {
    const url = socketUrl(way.url, way.channel);
    way.meter.upgraded(url, SUBPROTOCOL);
    const socket = new WebSocket(url, SUBPROTOCOL);
    const awaited = new Map();
    let nextId = SUBSCRIBE_ID + 1;
    let heardAt = performance.now();
    const watch = setInterval(askWhetherAlive, SILENCE_MS);

    // The closing handshake goes on by itself: what was published and not yet answered still gets its answer.
    way.signal.addEventListener("abort", () => (socket.close(1000), resolve()), { once: true });

    socket.onopen = () => {
      way.meter.handshake();
      const { earliest, ...start } = way.start;
      say({ subscribe: way.channel, after: start.after, last: start.last, earliest: earliest === undefined ? undefined : true, id: SUBSCRIBE_ID });
    };

    socket.onmessage = ({ data }) => {
      heardAt = performance.now();
      way.meter.receivedFrame(data);
      const record = JSON.parse(data);
      if (awaited.has(record.id)) return settle(record);
      if (record.error) return reject(refusal(record.error));
      way.take(record);
      if (record.id === SUBSCRIBE_ID) ready();
    };

    // What went wrong is told by the close that follows.
    socket.onerror = () => {};

    socket.onclose = ({ code, reason }) => {
      clearInterval(watch);
      const lost = new ConnectionLost(reason || (code === 1006 ? "the connection broke off" : `the connection was closed (${code})`));
      for (const { reject } of awaited.values()) reject(lost);
      awaited.clear();
      if (way.bye) resolve();
      else reject(lost);
    };

    function ready() {
      way.opened();
      way.send = (data, options) =>
        new Promise((resolve, reject) => {
          const id = nextId++;
          awaited.set(id, { resolve, reject });
          say({ publish: way.channel, ...nativeForm(data, options), id });
        });
    }

    function settle({ id, position, error }) {
      const { resolve, reject } = awaited.get(id);
      awaited.delete(id);
      if (error) reject(refusal(error));
      else resolve(position);
    }

    function say(command) {
      const text = JSON.stringify(command);
      way.meter.sentFrame(text);
      socket.send(text);
    }

    function askWhetherAlive() {
      const silentMs = performance.now() - heardAt;
      if (silentMs > 2 * SILENCE_MS) {
        // A peer that is not there will not answer the closing handshake either.
        socket.onclose({ code: 1006, reason: "nothing was heard for too long" });
        socket.close();
      } else if (socket.readyState === WebSocket.OPEN && silentMs > SILENCE_MS / 2) {
        say({ ping: 1 });
      }
    }
  });
}

function refusal({ code, message }) {
  return new Refused(message, { code });
}
