/** Two to four models on one picture, which goes up once. */

import { began, chooseModel, look, once, takePicture, tell } from '../actions.js';
import { rate, retry } from './job-actions.js';
import { api, ApiError } from '../api.js';
import { attribute, h, keyed, sign, text } from '../lib/dom.js';
import { filesOf, unitPrice, wish } from '../edit.js';
import { byId, blockedBecause, providerLabel } from '../models.js';
import { money } from '../cost.js';
import { get, on, set } from '../state.js';
import { mark } from '../parts/model-card.js';

const MOST = 4;
const list = h('div.picked', { role: 'list' });
const add = h('select.field.add', { label: 'Add a model to compare', onchange: () => (choose(add.value), (add.value = '')) });
document.querySelector('#compare-block').append(h('div.block-head', h('h2', 'Models to compare'), h('span.faint', 'two to four')), list, add);

const able = ({ models, operation, excluded }) => models.filter((model) => !blockedBecause(model, { operation, excluded })).sort((a, b) => a.cost - b.cost);

/** Into the mode: with what was chosen, or else with what is recommended. */
export function enter() {
	const state = get();
	const fit = able(state).map((model) => model.id);
	const kept = state.compareIds.filter((id) => fit.includes(id));
	if (kept.length > 1) return set({ compareIds: kept });
	const first = [state.model === 'auto' ? state.recommendation?.recommended_model : state.model, ...(state.recommendation?.alternatives ?? []).map((one) => one.model_id), ...fit];
	return set({ compareIds: [...new Set([...kept, ...first])].filter((id) => fit.includes(id)).slice(0, 2) });
}

export function choose(id) {
	const { compareIds } = get();
	if (id && !compareIds.includes(id)) set({ compareIds: [...compareIds, id].slice(-MOST) });
}

export async function begin(job) {
	if (!get().picture) {
		const blob = await api.picture(job.id, 'input').catch(tell);
		if (!blob) return;
		await takePicture(new File([blob], 'earlier picture', { type: blob.type }));
	}
	set({ mode: 'compare', tiles: [], compareIds: [job.model], values: { ...get().values, ...(job.prompt && { prompt: job.prompt }) } });
	enter();
}

/** Picture and mask go up once, other files with each edit. */
async function pictures(state) {
	const fields = state.picture.imageId ? { image_id: state.picture.imageId } : {};
	const rest = [];
	for (const [name, file] of await filesOf(state)) {
		if (name === 'image' || name === 'mask') fields[`${name}_id`] = await api.upload(file);
		else rest.push([name, file]);
	}
	return { fields, files: rest };
}

export const run = () =>
	once(async (state) => {
		const tiles = state.compareIds.map((modelId) => ({ key: `${modelId} ${Date.now()}`, modelId, job: null, fault: '' }));
		set({ tiles });
		try {
			const sent = await pictures(state);
			await Promise.all(tiles.map((tile) => send(tile, state, sent)));
		} catch (error) {
			set({ tiles: get().tiles.map((tile) => ({ ...tile, fault: error.message })) });
			throw error;
		}
	});

async function send({ key, modelId }, state, { fields, files }) {
	try {
		const job = await api.process({ ...wish(state, modelId), ...fields }, files);
		change(key, { job, fault: '' });
		began(job, state.picture.url);
	} catch (error) {
		if (!(error instanceof ApiError)) throw error;
		change(key, { fault: error.message });
	}
}

const change = (key, patch) => set({ tiles: get().tiles.map((tile) => (tile.key === key ? { ...tile, ...patch } : tile)) });
const on$ = (type, listener) => document.addEventListener(type, ({ detail }) => {
	const tile = get().tiles.find(({ key }) => key === detail?.key);
	if (tile) listener(tile);
});
on$('pick', ({ job, modelId }) => {
	chooseModel(modelId);
	set({ mode: 'edit', current: job.id, view: 'result' });
	rate(job.id, { rating: 5, accepted: true });
});
on$('open', ({ job }) => set({ mode: 'edit', current: job.id, view: 'result' }));
on$('retry', async (tile) => {
	if (!tile.job) return pictures(get()).then((sent) => send(tile, get(), sent), tell);
	const again = await retry(tile.job.id);
	return again && change(tile.key, { job: again, fault: '' });
});

on(['jobs'], ({ jobs, tiles }) => {
	const now = tiles.map((tile) => {
		const job = tile.job && jobs.find((one) => one.id === tile.job.id);
		return job && job !== tile.job ? { ...tile, job } : tile;
	});
	if (now.some((tile, n) => tile !== tiles[n])) set({ tiles: now });
});
on(['picture'], () => set({ tiles: [] }));
on(['compareIds', 'models', 'operation', 'excluded', 'mode', 'known', 'picture'], show);

function show(state) {
	const { compareIds, models, mode } = state;
	if (mode !== 'compare') return;
	const chosen = compareIds.map((id) => byId(models, id)).filter(Boolean);
	keyed(list, chosen, (model) => model.id, (model) => {
		const cost = h('strong');
		const remove = sign('close', `Leave out ${model.name}`, () => set({ compareIds: get().compareIds.filter((id) => id !== model.id) }));
		// Its table of prices tells what this picture costs.
		look(model.id);
		return Object.assign(h('div.picked-row', { role: 'listitem' }, mark(model), h('div.words', h('strong.cut', model.name), h('div.quiet', providerLabel(model.provider))), cost, remove), { cost });
	}, ({ cost }, { id }) => text(cost, money(unitPrice(state, id))));
	const full = compareIds.length >= MOST;
	const others = full ? [] : able(state).filter((model) => !compareIds.includes(model.id));
	keyed(add, [{ id: '' }, ...others], (model) => model.id, (model) => h('option', { value: model.id }, model.id ? `${model.name} · ${money(model.cost)}` : ''), (option, model) => !model.id && text(option, full ? 'Four is the limit' : 'Add a model'));
	add.value = '';
	attribute(add, 'disabled', full ? '' : null);
}
show(get());
