/** Many pictures: taken, sent, followed, released, stopped, repeated, fetched. */

import { live, onBatch, once, refreshUsage, say, takeBatch, tell } from '../actions.js';
import { api, ApiError } from '../api.js';
import { fitsForm, otherFiles, wish } from '../edit.js';
import { fresh, h } from '../lib/dom.js';
import { ended } from '../live.js';
import { close, open, save } from '../pictures.js';
import { get, set } from '../state.js';

const MEMORY = 'edit-studio.batch';
const UPLOADS_AT_ONCE = 3;
const LOOK_MS = 1200;
const CANARY = 3;
const STOP_RATE = 0.2;
const PAGE = 100;
const SHOWN_MAX = 1000;

const change = (name, value) => set({ batchOptions: { ...get().batchOptions, [name]: value } });
const tick = (name, words, more) => h('label.tick', h('input', { type: 'checkbox', checked: get().batchOptions[name], onchange: ({ target }) => change(name, target.checked) }), h('span', words, h('span.faint', more)));
const most = h('input.field', { type: 'number', min: 0, step: 'any', placeholder: 'no limit', id: fresh('most'), inputMode: 'decimal', oninput: () => change('max', Number.isFinite(most.valueAsNumber) ? most.valueAsNumber : null) });
document.querySelector('#batch-block').append(h('h2', 'Batch'), h('div.batch-options', tick('canary', 'Try three pictures first', 'The rest waits until you have looked at them'), tick('stop', 'Stop when one in five fails', 'What has not begun is held'), h('div.setting', h('label', { for: most.id }, 'Never spend more than ($)'), most)));

/** Those that cannot be edited are named at once. */
export async function add(files) {
	if (get().batch) startNew();
	const refused = [];
	for (const [n, file] of files.entries()) {
		set({ sending: `Looking at picture ${n + 1} of ${files.length}` });
		const found = await open(file, get().limits, { small: true });
		if (found.refused) refused.push(found.refused);
		else set({ batchPictures: [...get().batchPictures, { key: fresh('picture'), ...found.picture }] });
	}
	set({ sending: '', said: `${get().batchPictures.length} pictures` });
	if (refused.length) say(refused.slice(0, 3).join(' ') + (refused.length > 3 ? ` And ${refused.length - 3} more.` : ''), { bad: true });
}

/** Object URLs by name in the batch. */
const sources = new Map();

function startNew() {
	for (const url of sources.values()) URL.revokeObjectURL(url);
	sources.clear();
	localStorage.removeItem(MEMORY);
	set({ batch: null, batchJobs: [], batchSources: new Map() });
}

const customId = (n, name) => `${n + 1}-${name.replace(/[^\x20-\x7e]/g, '_').slice(-50)}`;

export const run = () =>
	once(async (state) => {
		const { batchPictures: pictures, batchOptions: options } = state;
		const items = pictures.map(({ name }, n) => ({ custom_id: customId(n, name) }));
		const defaults = wish(state);
		const name = (file) => (id) => (file === 'reference_images' ? (defaults.reference_images ??= []).push({ id }) : (defaults[`${file}_id`] = id));
		const wanted = [
			...pictures.map(({ file }, n) => ({ file, called: items[n].custom_id, take: (id) => (items[n].image_id = id) })),
			...otherFiles(state).map(([kind, file], n) => ({ file, called: customId(n, `${kind}-${file.name}`), take: name(kind) })),
		];
		const files = await send(wanted, state.limits);
		const batch = await api.submitBatch({
			items, defaults, name: `Edit Studio, ${pictures.length} pictures`,
			...(options.canary && pictures.length > CANARY && { canary: CANARY }), ...(options.stop && { stop_on_failure_rate: STOP_RATE }), ...(options.max !== null && { max_cost: options.max }),
		}, files);
		pictures.forEach(({ url }, n) => sources.set(items[n].custom_id, url));
		set({ batchPictures: [] });
		follow(batch);
	});

/** Files for the form; what is too large for one goes up before it. */
async function send(wanted, limits) {
	const total = wanted.length;
	if (fitsForm(wanted.map(({ file }) => file), limits)) {
		set({ sending: 'Sending the pictures' });
		return wanted.map(({ file, called, take }) => (take(`file:${called}`), new File([file], called, { type: file.type })));
	}
	let done = 0;
	const left = [...wanted];
	const sendNext = async () => {
		for (let one = left.shift(); one; one = left.shift()) {
			set({ sending: `Sending the pictures: ${done} of ${total}` });
			one.take(await api.upload(one.file));
			done += 1;
		}
	};
	await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, sendNext));
	return [];
}

function follow(batch) {
	localStorage.setItem(MEMORY, batch.id);
	set({ batch, batchJobs: [] });
	takeBatch(batch);
	live.watchBatch(batch.id);
}

const SAID = { held: 'The batch waits for you.', completed: 'The batch is done.', completed_with_errors: 'The batch is done; some pictures failed.', canceled: 'The batch was stopped.' };

onBatch((batch) => {
	const before = get().batch;
	if (batch.id !== before?.id) return;
	set({ batch });
	if (batch.status !== before.status || (batch.finished_at && !before.finished_at)) {
		set({ said: SAID[batch.status] ?? '' });
		refreshUsage();
	}
	look();
});

let looking = null;
function look() {
	looking ??= setTimeout(async () => {
		const { batch } = get();
		try {
			if (batch) await lookAt(batch);
		} catch (error) {
			if (!(error instanceof ApiError)) throw error;
			if ([404, 410].includes(error.status)) startNew();
		} finally {
			looking = null;
			// Items end a moment after the count says so.
			const now = get();
			if (now.batch && (now.batch.id !== batch?.id || (now.batch.status !== 'held' && now.batchJobs.some((job) => !ended(job))))) look();
		}
	}, LOOK_MS);
}

async function lookAt(batch) {
	const found = [];
	for (let cursor; cursor !== null && found.length < SHOWN_MAX; ) {
		const page = await api.batchItems(batch.id, { limit: PAGE, cursor });
		found.push(...page.items);
		cursor = page.next_cursor;
	}
	if (get().batch?.id !== batch.id) return;
	set({ batchJobs: found, batchSources: new Map(found.filter((job) => sources.has(job.custom_id)).map((job) => [job.id, sources.get(job.custom_id)])) });
}

export async function resume(id) {
	if (get().batch?.id === id) return;
	try {
		const batch = await api.batch(id);
		if (get().batch) startNew();
		follow(batch);
	} catch (error) {
		localStorage.removeItem(MEMORY);
		if (![404, 410].includes(error.status)) tell(error);
	}
}

const on$ = (type, listener) => document.addEventListener(type, ({ detail }) => Promise.resolve(listener(detail)).catch(tell));
const act = (type, request, then) => on$(type, async () => then(await request(get().batch.id)));
on$('remove', ({ key }) => {
	close(get().batchPictures.find((one) => one.key === key));
	set({ batchPictures: get().batchPictures.filter((one) => one.key !== key) });
});
act('release', (id) => api.batchAction(id, 'release'), takeBatch);
act('stop', (id) => api.batchAction(id, 'cancel'), takeBatch);
act('retry-failed', (id) => api.retryFailed(id), follow);
act('archive', (id) => api.archive(id).then((zip) => save(zip, `${id}.zip`)), () => {});
on$('fresh', startNew);
