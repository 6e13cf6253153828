/** Wiring only: the state to the parts, what parts say to what is done about it. */

import './parts/choice.js';
import './parts/drop-zone.js';
import './parts/instruction.js';
import './parts/job-list.js';
import './parts/kind-picker.js';
import './parts/model-card.js';
import './parts/model-selector.js';
import './parts/recommendation.js';
import './parts/run-bar.js';
import './parts/settings.js';
import './parts/status.js';
import * as act from './actions.js';
import { api, ApiError, session } from './api.js';
import { affordable, blocked, estimate, rulesOf, takenBy } from './edit.js';
import { budgetOf, money } from './cost.js';
import { button, chooser, h, sign, text } from './lib/dom.js';
import { ended } from './live.js';
import { byId, secondsLabel, timeLabel } from './models.js';
import { listenToKeys } from './keys.js';
import { get, on, set, watch } from './state.js';
import { show as showStage } from './stage.js';
import { later } from './later.js';

const ASK_ABOVE_USD = 1;
/** What was typed outlives a reload, not the tab. */
const DRAFT = 'edit-studio.draft';
const THEME = 'edit-studio.theme';
const $ = (id) => document.getElementById(id);
const { dataset } = document.documentElement;
const theme = localStorage.getItem(THEME);
if (theme) dataset.theme = theme;

set({
	mode: 'edit', status: 'loading', keyKnown: session.known, connection: 'live', busy: false, now: 0, said: '',
	models: [], operations: [], names: new Map(), known: new Map(), details: null, limits: null, usage: null,
	operation: 'general_edit', values: {}, files: {}, errors: [], settings: { prefer: 'cost', options: {} }, model: 'auto', memoryNote: '',
	recommendation: null, excluded: [], recommendFault: '', recommendedFor: '', dismissed: '', quote: null, retryAtMs: 0, retryWhy: '',
	picture: null, mask: null, maskNeeded: false, maskAllowed: true, painting: false, coverage: 0, tool: 'paint', brush: 60, maskVisible: true,
	jobs: [], batches: new Map(), cursor: null, olderLoading: false, current: null, view: 'source', sources: new Map(), rated: new Map(),
	compareIds: [], tiles: [], original: false, pins: null,
	batchPictures: [], batch: null, batchJobs: [], batchSources: new Map(), sending: '', batchOptions: { canary: true, stop: true, max: null },
	...JSON.parse(sessionStorage.getItem(DRAFT) ?? '{}'),
});

const [modes, kinds, instruction, settings, runBar, jobs, activity] = ['modes', 'kinds', 'instruction', 'settings', 'run', 'jobs', 'activity'].map($);
const selector = h('es-model-selector');
const badge = h('es-recommendation');
const card = h('es-model-card', { compact: true });
const note = h('p.notice', { role: 'status' });
const about = h('details.about', { ontoggle: () => card.model && act.look(card.model.id) }, h('summary', 'About this model'), card);
$('model-block').append(h('div.block-head', h('h2', 'Model'), button('columns', 'Compare', () => later.comparison(), 'link')), selector, badge, note, about);

const count = h('span.count');
const drawer = sign('clock', 'Activity', () => showActivity(!activity.hasAttribute('data-open')), 'square.activity-open');
drawer.append(count);
function showActivity(open) {
	activity.toggleAttribute('data-open', open);
	drawer.ariaExpanded = String(open);
	(open ? activity.querySelector('button') : drawer).focus();
}
activity.onkeydown = ({ key }) => key === 'Escape' && activity.hasAttribute('data-open') && showActivity(false);
activity.firstElementChild.append(sign('close', 'Close the activity', () => showActivity(false), 'square.activity-open'));
const flip = () => {
	const dark = (dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : '')) === 'dark';
	localStorage.setItem(THEME, (dataset.theme = dark ? 'light' : 'dark'));
};
$('top-right').append(sign('key', 'API key', () => askForKey('')), drawer, sign('contrast', 'Light or dark', flip), sign('help', 'Shortcuts', () => later.dialog('shortcuts'), 'square.help'));
const picker = chooser(take);
document.body.append(picker);
Object.assign(modes, { label: 'Mode', options: [{ id: 'edit', label: 'Edit', icon: 'wand' }, { id: 'compare', label: 'Compare', icon: 'columns' }, { id: 'batch', label: 'Batch', icon: 'grid' }] });

function askForKey(message) {
	set({ keyKnown: session.known });
	return later.dialog('key', message);
}
act.onKeyNeeded(askForKey);
session.onUnauthorized = ({ detail }) => askForKey(detail);

async function take(files) {
	if (get().mode === 'batch') return later.batch('add', files);
	if (files.length > 1) act.say(`${files.length} pictures came, the first one is taken. For all of them choose Batch.`);
	return act.takePicture(files[0]);
}

async function run() {
	const state = get();
	const why = blocked(state);
	if (why) return set({ said: why });
	const { usd } = estimate(state);
	const limit = state.settings.ask_above ?? ASK_ABOVE_USD;
	if (usd !== null && usd > limit && !(await later.dialog('ask', 'Run this?', `It costs about ${money(usd)}. You asked to be asked above ${money(limit)}.`, `Run for ${money(usd)}`))) return undefined;
	if (state.mode === 'compare') return later.compare('run');
	if (state.mode === 'batch') return later.batch('run');
	return act.run();
}

function go(mode) {
	set({ mode });
	if (mode === 'compare') later.compare('enter');
	if (mode === 'batch') later.batch();
}

const shownJob = () => get().jobs.find((job) => job.id === get().current) ?? null;
async function again(id, model) {
	const job = await later.job('retry', id, model ? { model } : {});
	if (job) set({ current: job.id, view: 'result' });
}
function maskAct(name) {
	const { mask } = get();
	if (name === 'undo' || name === 'redo') mask[name]();
	else mask.add({ kind: name });
	set({ coverage: mask.coverage(), now: Date.now() });
}
async function forgetKey() {
	if (session.endsAt) await api.logout().catch(act.tell);
	session.forget();
	set({ keyKnown: false, jobs: [], batches: new Map(), usage: null, current: null });
	askForKey('The key is forgotten.');
}

const told = {
	choose: ({ id }, { target }) => (target === modes ? go(id) : set({ view: id })),
	'kind-select': ({ id }) => act.chooseKind(id),
	'field-change': ({ name, value }) => set({ values: { ...get().values, [name]: value }, errors: get().errors.filter(({ pointer }) => pointer !== `/${name}`) }),
	'files-change': ({ name, files }) => set({ files: { ...get().files, [name]: files } }),
	'setting-change': ({ name, value }) => set({ settings: { ...get().settings, [name]: value } }),
	'use-prompt': ({ text: words }) => set({ values: { ...get().values, prompt: words } }),
	'model-select': ({ id }) => (get().mode === 'compare' ? later.compare('choose', id) : act.chooseModel(id)),
	'model-look': ({ id }) => act.look(id),
	'model-compare': () => later.comparison(),
	'models-retry': () => load(),
	why: () => later.dialog('why', get().recommendation, get().models),
	dismiss: () => set({ dismissed: `${get().recommendation.recommended_model} ${get().recommendedFor}` }),
	'pins-change': (patch) => set(patch),
	'pictures-add': ({ files }) => take(files),
	'picture-replace'() {
		picker.multiple = get().mode === 'batch';
		picker.click();
	},
	'picture-remove': () => act.dropPicture(),
	'picture-gone': () => act.say('The result is no longer stored.', { bad: true }),
	run,
	'mask-change': ({ coverage }) => set({ coverage, now: Date.now() }),
	'mask-set': (patch) => set(patch),
	'mask-file': ({ file }) => get().mask.load(file).then(() => set({ coverage: get().mask.coverage() }), () => act.say(`${file.name} is not a picture.`, { bad: true })),
	'mask-act': ({ act: name }) => maskAct(name),
	'job-open'({ id }) {
		activity.removeAttribute('data-open');
		act.takeJobs(get().batchJobs.filter((job) => job.id === id), true);
		set({ mode: 'edit', current: id, view: 'result' });
	},
	'batch-open'({ id }) {
		activity.removeAttribute('data-open');
		go('batch');
		later.batch('resume', id);
	},
	'job-cancel': ({ id }) => later.job('cancel', id),
	'job-retry': ({ id, model }) => again(id, model),
	'job-delete': async ({ id }) => (await later.dialog('ask', 'Delete this edit?', 'Its pictures are deleted for good.', 'Delete')) && later.job('remove', id),
	more: () => act.older(),
	again: () => again(get().current),
	compare: () => later.compare('begin', shownJob()),
	rate: ({ rating }) => later.job('rate', get().current, { rating }),
	'use-as-source': () => later.job('useAsSource', shownJob()),
	download: () => later.job('download', shownJob()),
	details: () => later.dialog('details', shownJob(), get().names).catch(act.tell),
	'key-use'({ key, remember }) {
		session.use(key, { remember });
		load();
	},
	'key-forget': forgetKey,
};
for (const [type, listener] of Object.entries(told)) document.addEventListener(type, (event) => listener(event.detail, event));

watch(({ operations, operation }) => Object.assign(kinds, { operations, value: operation }));
on(['operation', 'operations'], (state) => {
	const maskNeeded = Boolean(rulesOf(state)?.required.includes('mask'));
	const maskAllowed = takenBy(state).has('mask');
	set({ maskNeeded, maskAllowed, painting: Boolean(state.picture) && (maskNeeded || (maskAllowed && state.coverage > 0)) });
});
watch((state) => {
	const model = byId(state.models, state.model);
	Object.assign(instruction, { operation: state.operation, rules: rulesOf(state), values: state.values, files: state.files, errors: state.errors, promptMax: state.limits?.prompt_max_chars ?? 8000, references: !model || model.max_images > 1 });
});
on(['errors'], ({ errors }) => errors.length && queueMicrotask(() => document.querySelector('[aria-invalid="true"]')?.focus()));
watch((state) => {
	const auto = state.model === 'auto';
	Object.assign(settings, { values: state.settings, schema: auto ? null : state.details?.parameters ?? null, auto, negative: takenBy(state).has('negative_prompt') });
});
watch((state) => {
	const { models, model, recommendation, picture, status, known, dismissed, recommendedFor, operation, excluded, memoryNote, recommendFault } = state;
	const find = (id) => byId(models, id) ?? null;
	const chosen = find(model);
	const winner = find(recommendation?.recommended_model);
	const shown = chosen ?? winner;
	const details = known.get(shown?.id) ?? null;
	set({ details });
	if (shown && (chosen || about.open)) act.look(shown.id);
	Object.assign(selector, { models, value: model, operation, image: picture, recommendation, excluded, status, known, usd: status === 'ready' ? estimate({ ...state, mode: 'edit', details }).usd : null });
	Object.assign(badge, { recommended: winner, chosen, reason: recommendation?.reason ?? '', smaller: Boolean(recommendation?.requires_downscale), failed: chosen ? '' : recommendFault, dismissed: dismissed === `${recommendation?.recommended_model} ${recommendedFor}` });
	Object.assign(card, { model: shown, details, image: picture, recommended: Boolean(shown) && shown === winner, reference: winner });
	about.hidden = !shown;
	text(note, memoryNote);
	note.hidden = !memoryNote;
});
watch(({ mode }) => {
	modes.value = mode;
	$('model-block').hidden = mode === 'compare';
	$('compare-block').hidden = mode !== 'compare';
	$('batch-block').hidden = mode !== 'batch';
});
on(['values', 'operation', 'settings'], ({ values, operation, settings: chosen }) => sessionStorage.setItem(DRAFT, JSON.stringify({ values, operation, settings: chosen })));
const WISH = ['status', 'picture', 'operation', 'values', 'files', 'settings', 'coverage', 'mode'];
on([...WISH, 'batchPictures'], () => act.recommend());
on([...WISH, 'model'], () => act.quote());
watch(({ jobs: all, batches, names, current, mode, cursor, olderLoading, sources, now }) => {
	const single = all.filter((job) => !job.batch_id || job.id === current);
	const running = single.filter((job) => !ended(job)).length + [...batches.values()].filter(({ status }) => status === 'running').length;
	Object.assign(jobs, { jobs: single, batches, names, current: mode === 'edit' ? current : null, more: Boolean(cursor), loading: olderLoading, sources, now });
	text($('activity-count'), running ? `${running} running` : String(single.length + batches.size || ''));
	text(count, running ? String(running) : '');
});
watch(({ jobs: all, current, tiles }) => {
	const wanted = [current, ...tiles.map(({ job }) => job?.id)];
	act.live.watch(all.filter((job) => !ended(job) && wanted.includes(job.id)).map((job) => job.id));
});
watch(({ usage }) => ($('budget').budget = budgetOf(usage)));
watch(({ connection }) => ($('connection').state = connection));
watch(({ said }) => text($('said'), said));
watch((state) => {
	const { usd, count: many, each, charged } = estimate(state);
	const { mode, quote } = state;
	const seconds = quote?.estimated_seconds ?? state.recommendation?.estimated_seconds;
	const time = seconds && mode === 'edit' ? secondsLabel(seconds.p50, seconds.p90) : timeLabel(state.details?.performance);
	const unit = { edit: `1 picture${time === '–' ? '' : ` · ${time}`}`, compare: `${many} models × 1 picture`, batch: !many ? 'no pictures yet' : `${many} pictures${charged ? '' : ` × ${money(each)}`}` }[mode];
	const budget = budgetOf(state.usage);
	const more = budget && usd ? `enough for ${Math.floor(budget.left / usd)} more` : quote && mode === 'edit' ? 'price holds 10 minutes' : '';
	const label = { edit: 'Run edit', compare: `Run ${many} models`, batch: 'Run edits' }[mode];
	Object.assign(runBar, { label, picture: mode === 'compare' ? 'columns' : 'wand', title: charged ? 'Charged' : mode === 'batch' ? 'Batch total' : 'Estimated cost', usd, about: [unit, more].filter(Boolean), blocked: blocked(state), busy: state.busy, action: affordable(state) });
});
watch(showStage);

setInterval(() => {
	const { jobs: all, retryAtMs } = get();
	if (retryAtMs && retryAtMs <= Date.now()) set({ retryAtMs: 0 });
	if (retryAtMs || all.some((job) => !ended(job))) set({ now: Date.now() });
}, 1000);
listenToKeys({ take, run, go, selector });

async function load() {
	await act.load();
	if (session.known) later.resume();
}

/** A login link's code is good once. The address forgets it before anything else happens. */
async function begin() {
	const code = new URLSearchParams(location.hash.slice(1)).get('login');
	if (code) {
		history.replaceState(null, '', location.pathname);
		try {
			const { api_key: key, expires_at: endsAt } = await api.login(code);
			session.use(key, { endsAt });
		} catch (error) {
			if (!(error instanceof ApiError)) throw error;
			if (!session.known) return askForKey(error.detail);
		}
	}
	await load();
	return act.live.feed();
}
begin();
