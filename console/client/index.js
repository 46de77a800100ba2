// What a program needs to follow a channel and to publish to it.

export { Subscription, TRANSPORTS } from "./channel.js";
export { Costs } from "./costs.js";
export { ConnectionLost, Refused } from "./faults.js";
export { publish } from "./publish.js";
