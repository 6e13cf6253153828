/** Every path, header and error of the API. Nothing else on the page fetches. */

const PREFIX = '/api/image-studio/edit';
const KEY = 'edit-studio.key';
const ENDS = 'edit-studio.key-ends';
const AGAIN_AFTER_MS = [1000, 3000];
const PATIENCE = 5;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** What the API, or the way to it, had against a request. `status` 0: no answer. */
export class ApiError extends Error {
	constructor({ status = 0, code = 'offline', detail, errors = [], requestId = '', retryAfterS = 0, excluded = [] }) {
		super(detail);
		Object.assign(this, { status, code, detail, errors, requestId, retryAfterS, excluded });
	}
}

let key = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);

/** The key lives with the tab; on the device only if its owner says so. That of a login link ends. */
export const session = {
	get known() {
		return Boolean(key);
	},
	get endsAt() {
		return sessionStorage.getItem(ENDS);
	},
	use(value, { remember = false, endsAt = null } = {}) {
		this.forget();
		key = value;
		sessionStorage.setItem(KEY, value);
		if (endsAt) sessionStorage.setItem(ENDS, endsAt);
		if (remember) localStorage.setItem(KEY, value);
	},
	forget() {
		key = null;
		for (const name of [KEY, ENDS]) sessionStorage.removeItem(name);
		localStorage.removeItem(KEY);
	},
	onUnauthorized(_problem) {},
};

async function send(method, path, { json, body, headers, signal } = {}) {
	const all = { ...(key && { Authorization: `Bearer ${key}` }), ...(json && { 'Content-Type': 'application/json' }), ...headers };
	let answer;
	try {
		answer = await fetch(PREFIX + path, { method, headers: all, body: json ? JSON.stringify(json) : body, signal, cache: 'no-store', credentials: 'omit' });
	} catch (error) {
		if (error.name === 'AbortError') throw error;
		throw new ApiError({ detail: 'The service does not answer. Check the connection, then try again.' });
	}
	if (answer.ok || answer.status === 304) return answer;
	const problem = await problemOf(answer);
	if (answer.status === 401) session.onUnauthorized(problem);
	throw problem;
}

async function problemOf(answer) {
	const told = await answer.json().catch(() => ({}));
	return new ApiError({
		code: 'unknown', detail: `The service answered ${answer.status}.`, ...told,
		status: answer.status,
		requestId: told.request_id,
		retryAfterS: Number(answer.headers.get('Retry-After')) || 0,
	});
}

const told = async (...request) => (await send(...request)).json();
const get = (path, options) => told('GET', path, options);
const post = (path, json, signal) => told('POST', path, { json, signal });
const blob = async (path, signal) => (await send('GET', path, { signal })).blob();
const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));

/** A lost answer is asked for again with the same Idempotency-Key. */
async function create(path, options, idempotencyKey = crypto.randomUUID()) {
	const all = { ...options, headers: { 'Idempotency-Key': idempotencyKey } };
	for (const wait of AGAIN_AFTER_MS) {
		try {
			return await told('POST', path, all);
		} catch (error) {
			if (!(error instanceof ApiError && (error.status === 0 || error.code === 'idempotency_in_flight'))) throw error;
			await sleep(wait);
		}
	}
	return told('POST', path, all);
}

function formOf(name, document, files) {
	const form = new FormData();
	form.append(name, JSON.stringify(document));
	for (const [part, file] of files) form.append(part, file, file.name ?? `${part}.png`);
	return { body: form };
}

export const api = {
	login: (code) => post('/login', { code }),
	logout: () => send('POST', '/logout'),
	models: () => get('/models'),
	model: (id) => get(`/models/${encodeURIComponent(id)}`),
	operations: () => get('/operations'),
	limits: () => get('/limits'),
	usage: () => get('/usage'),
	recommend: (wish, signal) => post('/recommend', wish, signal),
	quote: (wish, signal) => post('/quote', wish, signal),
	process: (fields, files) => create('/process', formOf('request', fields, files)),
	jobs: (values) => get(`/jobs?${query(values)}`),
	job: (id) => get(`/jobs/${id}`),
	/** Null if it is as the tag says. */
	async jobUnless(id, etag) {
		const answer = await send('GET', `/jobs/${id}`, { headers: etag ? { 'If-None-Match': etag } : {} });
		return answer.status === 304 ? null : { job: await answer.json(), etag: answer.headers.get('ETag') };
	},
	receipt: (id) => get(`/jobs/${id}/receipt`),
	cancel: (id) => post(`/jobs/${id}/cancel`),
	retry: (id, changes) => create(`/jobs/${id}/retry`, { json: changes }),
	remove: (id) => send('DELETE', `/jobs/${id}`),
	feedback: (id, said) => post(`/jobs/${id}/feedback`, said),
	picture: (id, which, signal) => blob(`/jobs/${id}/${which}`, signal),
	events: (after, waitS) => get(`/events?${query({ after, wait: waitS, expand: true, limit: 20 })}`),
	stream: (path, lastEventId, signal) => send('GET', path, { signal, headers: { Accept: 'text/event-stream', ...(lastEventId && { 'Last-Event-ID': lastEventId }) } }),
	batches: (values) => get(`/batches?${query(values)}`),
	batch: (id) => get(`/batches/${id}`),
	batchItems: (id, values) => get(`/batches/${id}/items?${query(values)}`),
	/** @param {File[]} files sent along; the items name them */
	submitBatch: (manifest, files) => create('/batches', files.length ? formOf('manifest', manifest, files.map((file) => ['files', file])) : { json: manifest }),
	batchAction: (id, action) => post(`/batches/${id}/${action}`),
	retryFailed: (id) => create(`/batches/${id}/retry-failed`, {}),
	archive: (id) => blob(`/batches/${id}/archive`),
	/** Through the gateway: the storage need not be reachable from here. @returns {Promise<string>} for `image_id` */
	async upload(file) {
		const made = await patient(() => create('/uploads', {}));
		await patient(() => send('PUT', `/uploads/${made.id}/content`, { body: file, headers: { 'Content-Type': 'application/octet-stream' } }));
		return made.image_id;
	},
};

/** Uploads may come faster than the service takes them. */
async function patient(attempt) {
	for (let left = PATIENCE; ; left -= 1) {
		try {
			return await attempt();
		} catch (error) {
			if (!left || ![0, 429, 503].includes(error.status)) throw error;
			await sleep(Math.max(1, error.retryAfterS) * 1000);
		}
	}
}
