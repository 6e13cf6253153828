/** What the page does with the service; the outcome goes into the state. */

import { api, ApiError, session } from './api.js';
import { filesOf, quotable, quoteWish, recommendWish, wish } from './edit.js';
import { byAge } from './jobs.js';
import { ended, Live } from './live.js';
import { close, open } from './pictures.js';
import { Mask } from './mask.js';
import { get, set } from './state.js';
import { byId, blockedBecause, sentence } from './models.js';

const QUOTE_MS = 400;
const RECOMMEND_MS = 200;
const PAGE = 30;
const PAGES_MAX = 5;
const MEMORY = 'edit-studio.model';

const toasts = document.querySelector('#toasts');
let askForKey;
let batchNews = () => {};
export const live = new Live({
	onJob: takeJob,
	onBatch: takeBatch,
	onGap: newest,
	onState: (connection) => set({ connection }),
	active: () => get().jobs.filter((job) => !ended(job)).map((job) => job.id),
});

export const onKeyNeeded = (listener) => (askForKey = listener);
export const onBatch = (listener) => (batchNews = listener);

export const say = (...words) => toasts.show(...words);

export function tell(error) {
	if (error?.name === 'AbortError') return;
	if (!(error instanceof ApiError)) throw error;
	if (error.status === 401) return;
	const { status, detail, requestId } = error;
	const words = status === 403 ? 'This key may look, not run.' : status === 503 ? 'The service is full.' : sentence(`${detail.replace(/\.$/, '')}.`);
	if (status === 429 || status === 503) set({ retryAtMs: Date.now() + Math.max(1, error.retryAfterS) * 1000, retryWhy: words });
	say(words, { bad: true, requestId });
}

/** Usable as soon as models and operations are there. */
export async function load() {
	if (!session.known) return askForKey('');
	set({ keyKnown: true, status: get().models.length ? 'ready' : 'loading' });
	const rest = [
		api.limits().then((limits) => set({ limits })),
		refreshUsage(),
		live.mark().catch(() => {}).then(newest),
	];
	try {
		const [{ models }, { operations }] = await Promise.all([api.models(), api.operations()]);
		set({ models, operations, names: new Map(models.map((model) => [model.id, model.name])), status: 'ready' });
		remembered();
	} catch (error) {
		set({ status: 'error' });
		tell(error);
	}
	await Promise.all(rest.map((one) => one.catch(tell)));
}

async function newest() {
	const [page, { batches }] = await Promise.all([api.jobs({ limit: PAGE }), api.batches({ limit: PAGE })]);
	if (!get().jobs.length) set({ cursor: page.next_cursor });
	takeJobs(page.jobs);
	batches.forEach(takeBatch);
}

/** The model of the last visit, if it fits this kind of edit. */
function remembered() {
	const id = localStorage.getItem(MEMORY) ?? 'auto';
	const { models, operation } = get();
	const model = byId(models, id);
	if (id === 'auto' || (model && !blockedBecause(model, { operation }))) return set({ model: id, memoryNote: '' });
	return set({ model: 'auto', memoryNote: `${model?.name ?? 'The model of your last visit'} ${model ? 'cannot do this now' : 'is no longer offered'}, so Auto chooses.` });
}

export function chooseModel(id) {
	localStorage.setItem(MEMORY, id);
	set({ model: id, memoryNote: '', settings: { ...get().settings, options: {} } });
}

export function chooseKind(operation) {
	set({ operation, errors: [] });
	remembered();
}

const looked = new Set();
export async function look(id) {
	if (looked.has(id) || get().known.has(id)) return;
	looked.add(id);
	try {
		const details = await api.model(id);
		set({ known: new Map(get().known).set(id, details) });
	} catch (error) {
		if (!(error instanceof ApiError)) throw error;
	} finally {
		looked.delete(id);
	}
}

/** Asks a moment after the last change; `took` gets null first. Answers for earlier wishes are not looked at. */
function asker(afterMs, wishOf, ask, took, failed) {
	let asked;
	let timer;
	let flight = new AbortController();
	return () => {
		const body = wishOf(get());
		const key = JSON.stringify(body);
		if (key === asked) return;
		asked = key;
		clearTimeout(timer);
		flight.abort();
		took(null, body);
		if (!body) return;
		const { signal } = (flight = new AbortController());
		timer = setTimeout(async () => {
			try {
				const answer = await ask(body, signal);
				if (!signal.aborted) took(answer, body);
			} catch (error) {
				if (signal.aborted) return;
				if (!(error instanceof ApiError)) throw error;
				asked = undefined;
				failed(error);
			}
		}, afterMs);
	};
}

/** What was recommended stands until there is an answer. */
export const recommend = asker(RECOMMEND_MS, (state) => state.status === 'ready' && recommendWish(state), api.recommend,
	(recommendation, { operation, image_resolution: size }) => recommendation && set({ recommendation, excluded: recommendation.excluded, recommendFault: '', recommendedFor: JSON.stringify([operation, size]) }),
	(error) => set({ recommendation: null, excluded: error.excluded, recommendFault: error.code === 'no_capable_model' ? sentence(error.detail) : error.status === 401 ? '' : 'Auto cannot choose now; choose a model yourself.' }));

/** Without a quote the local estimate stands, and the run says what is wrong. */
export const quote = asker(QUOTE_MS, (state) => state.status === 'ready' && state.mode === 'edit' && quotable(state) && quoteWish(state), api.quote,
	(offered, body) => set({ quote: offered && { ...offered, for: JSON.stringify(body) } }), () => {});

export async function takePicture(file, more = {}) {
	const found = await open(file, get().limits);
	if (found.refused) return say(found.refused, { bad: true });
	letGo();
	const picture = { ...found.picture, ...more };
	return set({ picture, view: 'source', mask: new Mask(picture), coverage: 0, painting: get().maskNeeded, current: null, tiles: [] });
}

/** The object URL is nobody's from here on. */
function letGo() {
	const { picture, sources } = get();
	if (!picture) return;
	set({ sources: new Map([...sources].filter(([, url]) => url !== picture.url)) });
	close(picture);
}

export function dropPicture() {
	letGo();
	set({ picture: null, mask: null, coverage: 0, painting: false, tiles: [], quote: null });
}

/** One run at a time; faults of fields are shown there. */
export async function once(act) {
	if (get().busy) return;
	set({ busy: true, errors: [] });
	try {
		await act(get());
	} catch (error) {
		if (error.errors?.length) set({ errors: error.errors.map((one) => ({ ...one, pointer: one.pointer.replace('/defaults', '') })) });
		tell(error);
	} finally {
		set({ busy: false, sending: '' });
	}
}

export const run = () =>
	once(async (state) => {
		const fields = wish(state);
		if (state.picture.imageId) fields.image_id = state.picture.imageId;
		const quoted = state.quote?.for === JSON.stringify(quoteWish(state)) ? { quote_id: state.quote.quote_id } : {};
		const files = await filesOf(state);
		const job = await api.process({ ...fields, ...quoted }, files).catch((error) => {
			if (!['quote_expired', 'quote_mismatch'].includes(error.code)) throw error;
			return api.process(fields, files);
		});
		began(job, state.picture.url);
		set({ current: job.id, view: 'result' });
	});

export function began(job, url) {
	if (url) set({ sources: new Map(get().sources).set(job.id, url) });
	takeJob(job);
}

/** One that has ended never goes back. */
export function takeJob(job) {
	takeJobs([job]);
}

/** Items of batches stand with their batch, unless `opened`. */
export function takeJobs(news, opened = false) {
	const { jobs, names } = get();
	const known = new Map(jobs.map((job) => [job.id, job]));
	for (const job of news) {
		const before = known.get(job.id);
		if (before ? ended(before) : job.batch_id && !opened) continue;
		known.set(job.id, job);
		if (!before || !ended(job)) continue;
		set({ said: `${names.get(job.model) ?? 'Edit'}: ${{ succeeded: 'done', failed: 'failed', canceled: 'stopped' }[job.status]}` });
		refreshUsage();
	}
	set({ jobs: [...known.values()].sort(byAge), now: Date.now() });
}

export function takeBatch(batch) {
	set({ batches: new Map(get().batches).set(batch.id, batch) });
	batchNews(batch);
}

/** Where it does not come, the next one will. */
export const refreshUsage = () => api.usage().then((usage) => set({ usage }), () => {});

export async function older() {
	if (!get().cursor || get().olderLoading) return;
	set({ olderLoading: true });
	try {
		const before = get().jobs.length;
		for (let left = PAGES_MAX; left && get().cursor && get().jobs.length < before + PAGE; left -= 1) {
			const page = await api.jobs({ limit: 100, cursor: get().cursor });
			set({ cursor: page.next_cursor });
			takeJobs(page.jobs);
		}
	} catch (error) {
		tell(error);
	} finally {
		set({ olderLoading: false });
	}
}
