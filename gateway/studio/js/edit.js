/** From what is chosen to what is asked of the service, and what stands in the way. No page, no network. */

import { byId, blockedBecause } from './models.js';
import { budgetOf, money, priceOf } from './cost.js';

const WORDS = ['prompt', 'negative_prompt', 'search_prompt', 'select_prompt'];
const SIDES = ['expand_left', 'expand_right', 'expand_up', 'expand_down'];
const FILES = ['background_image', 'lighting_image', 'reference_images'];
const MISSING = { prompt: 'Write what to change', search_prompt: 'Write what to find', select_prompt: 'Write what to recolour', mask: 'Paint where it is to change' };
const FULL = 0.998;
/** Kept for the other parts of a form. */
const FORM_SPARE_BYTES = 256 * 1024;

export function rulesOf({ operations, operation }) {
	return operations.find((one) => one.id === operation)?.fields ?? null;
}

export function takenBy(state) {
	const { required = [], one_of = [], optional = [] } = rulesOf(state) ?? {};
	return new Set([...required, ...one_of, ...optional]);
}

export const masked = (state) => takenBy(state).has('mask') && state.coverage > 0 && state.mode !== 'batch';

/** A request without its pictures. @param {string|null} [model] instead of the chosen one */
export function wish(state, model = state.model === 'auto' ? null : state.model) {
	const taken = takenBy(state);
	const { values, settings } = state;
	const fields = { operation: state.operation };
	for (const name of WORDS) {
		const said = (name === 'negative_prompt' ? settings.negative_prompt : values[name])?.trim();
		if (said && taken.has(name)) fields[name] = said;
	}
	for (const name of SIDES) if (values[name] && taken.has(name)) fields[name] = values[name];
	if (masked(state)) fields.mask_mode = 'white_is_edit';
	if (settings.output_format) fields.output_format = settings.output_format;
	if (settings.size && settings.size !== 'match_input') fields.size = settings.size;
	if (Number.isFinite(settings.max_cost)) fields.max_cost = settings.max_cost;
	if (model) {
		fields.model = model;
		const options = Object.fromEntries(Object.entries(settings.options ?? {}).filter(([, value]) => value !== undefined && value !== ''));
		if (model === state.model && Object.keys(options).length) fields.options = options;
	} else {
		fields.preferences = { [`prioritize_${settings.prefer ?? 'cost'}`]: true };
	}
	return fields;
}

const pictureOf = (state) => (state.mode === 'batch' ? state.batchPictures[0] : state.picture);
const resolution = (picture) => (picture ? { image_resolution: { width: picture.width, height: picture.height } } : {});

export function recommendWish(state) {
	const { preferences, max_cost, prompt, operation, output_format, size } = wish(state, null);
	const wanted = { operation, prompt, output_format, size, preferences: { ...preferences, max_cost }, has_mask: masked(state), reference_images: state.files.reference_images?.length ?? 0 };
	return { ...wanted, ...resolution(pictureOf(state)) };
}

/** The picture unless the service has it, the mask, and others that the kind takes. */
export async function filesOf(state) {
	const files = state.picture.imageId ? [] : [['image', state.picture.file]];
	if (masked(state)) files.push(['mask', await state.mask.png()]);
	return [...files, ...otherFiles(state)];
}

/** @returns {[string, File][]} by field */
export function otherFiles(state) {
	const taken = takenBy(state);
	return FILES.filter((name) => taken.has(name)).flatMap((name) => (state.files[name] ?? []).map((file) => [name, file]));
}

/** As the run, but of the pictures only that they are there. */
export const quoteWish = (state) => ({ ...wish(state), ...resolution(state.picture), has_mask: masked(state) });

/** Only what a size and a mask describe can be quoted. */
export const quotable = (state) => Boolean(state.picture) && !missing(state) && !otherFiles(state).length;

/** Of one edit, as far as the page knows. @param {string} [id] a model instead of the chosen one */
export function unitPrice(state, id = state.model) {
	if (id === state.model && state.quote && state.mode === 'edit') return state.quote.total;
	const model = byId(state.models, id);
	if (!model) return state.recommendation?.estimated_cost ?? null;
	return priceOf(model, state.known.get(id), id === state.model ? state.settings.options : {}, pictureOf(state));
}

export function estimate(state) {
	if (state.mode === 'compare') {
		const ids = state.compareIds;
		return { usd: ids.reduce((sum, id) => sum + (unitPrice(state, id) ?? 0), 0), count: ids.length };
	}
	const each = unitPrice(state);
	if (state.mode === 'batch') {
		const { batch } = state;
		if (batch) return { usd: batch.finished_at ? batch.cost.actual : batch.cost.estimated, count: batch.counts.total, each: batch.cost.estimated / Math.max(1, batch.counts.total), charged: Boolean(batch.finished_at) };
		const count = state.batchPictures.length;
		return { usd: each === null ? null : each * count, each, count };
	}
	return { usd: each, each, count: 1 };
}

export function missing(state) {
	const rules = rulesOf(state);
	if (!rules) return 'The service does not answer yet';
	const given = (name) => (FILES.includes(name) ? Boolean(state.files[name]?.length) : name === 'mask' ? state.coverage > 0 : Boolean(String(state.values[name] || '').trim()));
	for (const name of rules.required) if (name !== 'image' && !given(name)) return `${MISSING[name] ?? `Add ${name.replaceAll('_', ' ')}`} to continue`;
	if (rules.one_of.length && !rules.one_of.some(given)) return rules.one_of[0].startsWith('expand') ? 'Say how far to extend to continue' : 'Describe the light or add a picture to continue';
	if (masked(state) && state.coverage > FULL) return 'The mask covers everything: leave something unpainted';
	return '';
}

export function blocked(state) {
	const { mode, picture, models, model } = state;
	if (!state.keyKnown) return 'An API key is needed';
	if (state.status !== 'ready') return 'The service does not answer yet';
	if (mode === 'batch') {
		if (state.sending) return state.sending;
		if (state.batch && !state.batch.finished_at) return state.batch.status === 'held' ? 'The batch waits for you' : 'The batch is running';
		if (state.batch) return 'Start a new batch, or add pictures, to continue';
		if (!state.batchPictures.length) return 'Add pictures to continue';
		if (rulesOf(state).required.includes('mask')) return 'A batch cannot be masked: choose another kind of edit';
	} else if (!picture) return 'Add a picture to continue';
	const lacks = missing(state);
	if (lacks) return lacks;
	if (mode === 'compare' && state.compareIds.length < 2) return 'Choose two to four models';
	if (mode === 'compare' && state.tiles.some(({ job, fault }) => !fault && !job?.finished_at)) return 'The comparison is running';
	if (mode !== 'compare') {
		const chosen = byId(models, model);
		const why = chosen && blockedBecause(chosen, { operation: state.operation, excluded: state.excluded });
		if (why) return `${chosen.name}: ${why.charAt(0).toLowerCase()}${why.slice(1)}`;
		if (!chosen && state.recommendFault) return state.recommendFault;
		// Nothing is run before its price was on the page.
		if (!chosen && !state.recommendation) return 'Finding the best model';
	}
	const waitS = Math.ceil((state.retryAtMs - (state.now || Date.now())) / 1000);
	if (waitS > 0) return `${state.retryWhy} Again in ${waitS} s`;
	const budget = budgetOf(state.usage);
	const { usd } = estimate(state);
	if (budget && usd !== null && usd > budget.left) return `Only ${budget.left ? money(budget.left) : '$0.00'} left ${budget.period}.`;
	return '';
}

/** A model that what is left pays for, where the chosen one is too dear. */
export function affordable(state) {
	const budget = budgetOf(state.usage);
	const { usd, count } = estimate(state);
	if (!budget || usd === null || usd <= budget.left || state.mode === 'compare') return null;
	const able = state.models.filter((model) => !blockedBecause(model, { operation: state.operation, excluded: state.excluded }));
	const [model] = able.filter((one) => one.cost * count <= budget.left).sort((a, b) => a.cost - b.cost);
	return model && model.id !== state.model ? { id: model.id, label: `Use ${model.name}, ${money(model.cost)}` } : null;
}

export const fitsForm = (files, limits) => files.reduce((sum, file) => sum + file.size, 0) < (limits?.body_max_bytes ?? 32 * 1024 * 1024) - FORM_SPARE_BYTES;
