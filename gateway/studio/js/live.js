/** News: a stream for what is on screen, the tenant's feed for the rest, polling where a stream does not hold. */

import { api, ApiError, session } from './api.js';

const STREAMS_MAX = 3;
const SILENT_MS = 40_000;
const POLL_MS = [2000, 3000, 5000, 7000, 10_000];
const HIDDEN_POLL_MS = 30_000;
const STREAM_AGAIN_MAX_MS = 30_000;
const FEED_WAIT_S = 25;
const TERMINAL = new Set(['succeeded', 'failed', 'canceled']);

export const ended = (job) => TERMINAL.has(job.status);

/**
 * Events out of the text of a stream, however it is cut: fields, comments, several lines of data, CR, LF or both.
 * Source: WHATWG HTML, server-sent events, "interpreting an event stream".
 */
export class EventParser {
	#rest = '';
	#data = [];
	lastId = '';

	/** @param {string} chunk @returns {{data: string, id: string}[]} */
	push(chunk) {
		const found = [];
		const lines = (this.#rest + chunk).split(/\r\n|\n|\r(?!$)/);
		this.#rest = lines.pop();
		for (const line of lines) {
			if (line === '') {
				if (this.#data.length) found.push({ data: this.#data.join('\n'), id: this.lastId });
				this.#data = [];
				continue;
			}
			const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
			if (name === 'data') this.#data.push(value);
			else if (name === 'id' && !value.includes('\0')) this.lastId = value;
		}
		return found;
	}
}

/** Until `signal` ends it, or the page comes into sight or online again. */
const sleep = (ms, signal) =>
	new Promise((done) => {
		const over = new AbortController();
		const until = { signal: over.signal };
		const end = () => (over.abort(), clearTimeout(timer), done());
		const timer = setTimeout(end, ms);
		signal?.addEventListener('abort', end, until);
		document.addEventListener('visibilitychange', () => document.hidden || end(), until);
		addEventListener('online', end, until);
	});

/** One thing, followed until `isOver`: by its stream, and by polling whenever that is not up. */
class Follower {
	#stop = new AbortController();
	// Null as long as nobody knows.
	#up = null;
	#lastId = '';
	#polls = 0;

	constructor({ path, poll, onNews, isOver, onState }) {
		Object.assign(this, { path, poll, onNews, isOver, onState, over: false });
		this.#stream();
		this.#pollWhileDown();
	}

	get up() {
		return this.#up;
	}

	end() {
		this.over = true;
		this.#stop.abort();
	}

	#news(item) {
		if (this.over) return;
		this.#polls = 0;
		const over = this.isOver(item);
		if (over) this.end();
		this.onNews(item);
	}

	#setUp(up) {
		if (this.#up === up) return;
		this.#up = up;
		this.onState();
	}

	async #stream() {
		for (let wait = 1000; !this.over; wait = Math.min(wait * 2, STREAM_AGAIN_MAX_MS)) {
			const began = Date.now();
			try {
				await this.#listen();
			} catch (error) {
				if (error instanceof ApiError && [401, 403, 404, 410].includes(error.status)) break;
			}
			this.#setUp(false);
			if (Date.now() - began > SILENT_MS) wait = 1000;
			if (!this.over) await sleep(wait, this.#stop.signal);
		}
		this.#setUp(false);
	}

	async #listen() {
		const silence = new AbortController();
		let timer = setTimeout(() => silence.abort(), SILENT_MS);
		this.#stop.signal.addEventListener('abort', () => silence.abort(), { once: true });
		try {
			const answer = await api.stream(this.path, this.#lastId, silence.signal);
			if (answer.status === 204 || !answer.body) return;
			const parser = new EventParser();
			const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
			for (;;) {
				const { value, done } = await reader.read();
				if (done) return;
				clearTimeout(timer);
				timer = setTimeout(() => silence.abort(), SILENT_MS);
				this.#setUp(true);
				for (const event of parser.push(value)) {
					this.#lastId = event.id;
					this.#news(JSON.parse(event.data));
				}
			}
		} finally {
			clearTimeout(timer);
			silence.abort();
		}
	}

	async #pollWhileDown() {
		await sleep(POLL_MS[0], this.#stop.signal);
		while (!this.over) {
			if (!this.#up) {
				try {
					const item = await this.poll();
					if (item) this.#news(item);
				} catch (error) {
					// Gone for good; anything else may pass.
					if (error instanceof ApiError && [404, 410].includes(error.status)) this.end();
				}
			}
			const pace = POLL_MS[Math.min(this.#polls++, POLL_MS.length - 1)];
			await sleep(document.hidden ? HIDDEN_POLL_MS : pace, this.#stop.signal);
		}
	}
}

/** Says how it follows: `live`, `polling` or `offline`. */
export class Live {
	#followers = new Map();
	#feedUp = null;
	#after = 'latest';

	/** told: onJob, onBatch, onState, onGap where news was missed; active: ids of edits that have not ended */
	constructor(told) {
		this.told = told;
		addEventListener('offline', () => this.#say());
		addEventListener('online', () => this.#say());
	}

	watch(ids) {
		const batches = [...this.#followers].filter(([id, one]) => id.startsWith('batch_') && !one.over).length;
		const wanted = new Set(ids.slice(0, STREAMS_MAX - batches));
		for (const id of this.#followers.keys()) if (id.startsWith('edit_') && !wanted.has(id)) this.#leave(id);
		for (const id of wanted) if (!this.#followers.has(id)) this.#follow(id);
		this.#say();
	}

	#leave(id) {
		this.#followers.get(id)?.end();
		this.#followers.delete(id);
	}

	/** Follow this batch, and no other. */
	watchBatch(id) {
		for (const one of this.#followers.keys()) if (one.startsWith('batch_')) this.#leave(one);
		this.#add(id, { path: `/batches/${id}/events`, poll: () => api.batch(id), onNews: this.told.onBatch, isOver: (batch) => batch.finished_at !== null });
	}

	#follow(id) {
		let tag = null;
		const poll = async () => {
			const found = await api.jobUnless(id, tag);
			tag = found?.etag ?? tag;
			return found?.job ?? null;
		};
		this.#add(id, { path: `/jobs/${id}/events`, poll, onNews: this.told.onJob, isOver: ended });
	}

	#add(id, what) {
		this.#followers.set(id, new Follower({ ...what, onNews: (item) => (what.onNews(item), this.#say()), onState: () => this.#say() }));
	}

	#say() {
		if (!navigator.onLine) return this.told.onState('offline');
		const followers = [...this.#followers.values()].filter((one) => !one.over);
		const down = followers.some((one) => one.up === false);
		return this.told.onState(down || this.#feedUp === false ? 'polling' : 'live');
	}

	/** What happens from now on is not missed. To be called before anything is listed. */
	async mark() {
		this.#after = (await api.events('latest', 0)).next_cursor;
	}

	/** One long poll after the other; while none is answered, the edits that have not ended are asked for. Never returns. */
	async feed() {
		for (let wait = 1000; ; ) {
			if (!session.known) {
				await sleep(1000);
				continue;
			}
			try {
				const page = await api.events(this.#after, this.#feedUp === false ? 0 : FEED_WAIT_S);
				this.#after = page.next_cursor;
				for (const { data } of page.events) this.#ofFeed(data);
				this.#tellFeed(true);
				wait = 1000;
			} catch (error) {
				if (!(error instanceof ApiError)) throw error;
				this.#tellFeed(false);
				// More happened than the feed holds.
				if (error.status === 410) await this.mark().then(this.told.onGap).catch(() => {});
				const asked = await this.#askForActive();
				wait = asked ? POLL_MS[0] : Math.min(wait * 2, POLL_MS.at(-1));
				await sleep(document.hidden ? HIDDEN_POLL_MS : wait);
			}
		}
	}

	#tellFeed(up) {
		if (this.#feedUp === up) return;
		this.#feedUp = up;
		this.#say();
	}

	#ofFeed(item) {
		if (item?.object === 'edit') this.told.onJob(item);
		else if (item?.object === 'batch') this.told.onBatch(item);
	}

	async #askForActive() {
		const ids = this.told.active().filter((one) => !this.#followers.has(one)).slice(0, 10);
		for (const id of ids) {
			try {
				this.told.onJob(await api.job(id));
			} catch {
				return false;
			}
		}
		return ids.length > 0;
	}
}
