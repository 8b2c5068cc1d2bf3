// Talking to the server: requests with the token, units that are fetched ahead, and saving in order.

const PATIENCE = 20000;   // Milliseconds that an answer may take.
const LATE = 60;          // Milliseconds that superpixels may take longer than the rest.
const KEPT = 8;           // Units that are kept: those before, this one, and those to come.
const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

export class Server {
  // Once the number of the round is known, it goes with each request: an old page must not speak of a new round.
  constructor(token) { Object.assign(this, { token, round: "" }); }

  async request(path, options = {}) {
    const headers = { "X-Token": this.token, "X-Round": this.round, ...options.headers };
    const answer = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw Object.assign(Error(said.error || "the server answered " + answer.status), { status: answer.status });
  }

  async json(path) { return (await this.request(path)).json(); }
}

// What can be tried again: no answer, or one that says that the disk is full or an image cannot be read.
export const passing = error => error.status === undefined || error.status >= 500;

export class Units {
  constructor(server, saver, units) {
    Object.assign(this, { server, saver, units, kept: new Map() });
  }

  // A unit with all that is shown of it, now or as soon as the server answers.
  get(place) {
    const found = this.kept.get(place) || this.fetch(place);
    this.kept.delete(place);
    this.kept.set(place, found);
    // The first one has not been used for longest.
    for (const old of this.kept.keys()) if (this.kept.size > KEPT && !this.saver.has(old)) this.kept.delete(old);
    found.catch(() => this.kept.get(place) === found && this.kept.delete(place));
    return found;
  }

  async fetch(place) {
    const ask = part => this.server.request(`api/units/${place}/${part}`);
    const unit = this.units[place], [top, left] = unit.frame;
    const found = { ...unit, place, top: unit.y - top, left: unit.x - left, areas: null };
    let waiting = null;
    const fetchAreas = async () => { found.areas = new Uint16Array(await (await ask("superpixels")).arrayBuffer()); };
    found.complete = async () => found.areas || (waiting ||= fetchAreas().finally(() => { waiting = null; }));
    const areas = found.complete().catch(() => {});
    const [picture, map, label] = await Promise.all(["picture", "map", "label"].map(ask));
    found.picture = await createImageBitmap(await picture.blob());
    found.map = await createImageBitmap(await map.blob());
    found.label = new Uint8Array(await label.arrayBuffer());
    // The superpixels of a whole image take seconds, in which it can be seen and drawn on.
    await Promise.race([areas, pause(LATE)]);
    return found;
  }
}

// Sends events one after the other. Each has its number, so that one that was sent twice counts once.
export class Saver {
  constructor(server, events, show) {
    const name = crypto.getRandomValues(new Uint32Array(2));
    Object.assign(this, { server, last: events, show, page: [...name].map(part => part.toString(36)).join("-") });
    this.waiting = [];
    this.refused = false;
    this.failed = null;
  }

  // Waits until nothing is left to be saved, or it is refused.
  async settled() { while (this.waiting.length && !this.refused) await pause(50); }

  has(place) { return this.waiting.some(item => item.unit === place); }

  add(unit, kind, id, label) {
    if (this.refused) return;
    const event = { n: ++this.last, unit, kind, at: Date.now() / 1000, page: this.page, label: id };
    this.waiting.push({ unit, event: JSON.stringify(event), label });
    if (this.waiting.length === 1) this.send();
    else if (this.failed) this.show("waiting", this.failed);
  }

  async send() {
    this.show("saving");
    for (let tries = 0; this.waiting.length;) {
      const { event, label } = this.waiting[0];
      try {
        await this.server.request("api/event", { method: "PUT", headers: { "X-Event": event }, body: label });
        this.waiting.shift();
        tries = 0;
        this.failed = null;
      } catch (error) {
        this.refused = !passing(error);
        this.failed = error;
        this.show(this.refused ? "refused" : "waiting", error);
        if (this.refused) return;
        await pause(Math.min(2000, 250 * 2 ** tries++));
      }
    }
    this.show("saved");
  }
}

// Calls again and again until it works or nobody needs it any more, and says so each time that it did not.
export async function insist(call, failed, needless = () => false) {
  while (!needless())
    try { return await call(); } catch (error) {
      if (!passing(error)) throw error;
      failed(error);
      await pause(700);
    }
}
