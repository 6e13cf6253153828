/** The stage: shows what the state says; what is done there goes up as events. */

import { button, h, icon, link, outlined, progress, sign, text } from './lib/dom.js';
import { ended } from './live.js';
import { failure, fraction, nextModel, progressWords } from './jobs.js';
import { sizeLabel, stagePictures } from './pictures.js';

const stage = document.querySelector('#stage');
const emit = (type, detail = {}) => stage.dispatchEvent(new CustomEvent(type, { bubbles: true, detail }));

const name = h('span.cut');
const size = h('span.chip');
const views = h('es-choice', { label: 'View' });
const remove = sign('trash', 'Remove the picture', () => emit('picture-remove'));
const nameChip = h('span.chip', icon('picture', 14), name);
const bar = h('div.stage-bar', h('div.stage-about', nameChip, size), views, h('div.stage-tools', Object.assign(button('upload', 'Replace', () => emit('picture-replace')), { title: 'Replace' }), remove));

const plainPicture = h('img', { alt: '' });
const workPicture = h('img', { alt: '' });
const workWords = h('strong');
const workMore = h('span');
const workTrack = progress('Progress of the edit');
const stop = outlined('Stop', () => emit('job-cancel', { id: shown.job.id }));
const again = outlined('Try again', () => emit('job-retry', { id: shown.job.id }));
const other = outlined('', () => emit('job-retry', { id: shown.job.id, model: shown.other.id }));
const workOver = h('div.over', h('div.over-words', workWords, workMore, workTrack, h('div.row', stop, again, other, link('Details', () => emit('details')))));
const bodies = {
	zone: h('es-drop-zone'),
	plain: h('div.view', h('div.frame.checked', plainPicture)),
	compare: h('es-before-after'),
	work: h('div.view', h('div.frame', workPicture, workOver)),
	problem: h('div.empty', h('p', 'The service did not say what it can do.'), outlined('Retry', () => emit('models-retry'))),
	mask: h('es-mask-editor'),
	grid: h('es-compare-grid'),
	batch: h('es-batch'),
};
const foots = {
	result: h('es-result-bar'),
	tools: h('es-mask-tools'),
	start: h('div.floating', button('brush', 'Paint a mask', () => emit('mask-set', { painting: true })), h('span.faint', 'Optional: limit the edit to one area')),
};
const body = h('div.stage-body');
const foot = h('div.stage-foot');
stage.append(bar, body, foot);

const AGAIN_MS = 3000;
const shown = { job: null, other: null };

const LATER = { compare: 'before-after', result: 'result-bar', mask: 'mask-editor', tools: 'mask-editor', grid: 'compare-grid', batch: 'batch' };

/** Without a connection the part comes when there is one again; the number makes browsers forget that it failed. */
const fetched = (path, n = 0) => import(n ? `${path}?${n}` : path).catch(() => setTimeout(fetched, AGAIN_MS, path, n + 1));

function put(into, what, part) {
	if (into.dataset.shows === what) return;
	if (LATER[what]) fetched(`./later/${LATER[what]}.js`);
	into.dataset.shows = what;
	const focused = into.contains(document.activeElement);
	into.replaceChildren(...(part ? [part] : []));
	if (focused) stage.focus();
}

export function show(state) {
	const { mode, picture, view, jobs, current } = state;
	const job = jobs.find(({ id }) => id === current) ?? null;
	bar.hidden = mode === 'batch' || !(picture || (job && mode === 'edit'));
	nameChip.hidden = size.hidden = remove.hidden = !picture;
	if (picture) {
		text(name, picture.name);
		text(size, sizeLabel(picture));
	}
	views.hidden = mode !== 'edit';
	Object.assign(views, { value: view, options: [{ id: 'source', label: 'Source', disabled: !picture }, { id: 'result', label: 'Before / after', disabled: !job }] });
	const which = choose(state, job);
	put(body, which, bodies[which]);
	FILL[which]?.(state, job);
	const below = { compare: 'result', mask: 'tools', plain: state.maskAllowed && 'start' }[which] || '';
	put(foot, below, foots[below]);
	foot.hidden = !below;
	if (below === 'result') Object.assign(foots.result, { job, name: state.names.get(job.model) ?? job.model, rated: state.rated.get(job.id) ?? 0 });
	// `now` moves with each stroke.
	if (below === 'tools' && state.now >= 0) Object.assign(foots.tools, { tool: state.tool, size: state.brush, visible: state.maskVisible, coverage: state.coverage, canUndo: state.mask.canUndo, canRedo: state.mask.canRedo });
}

function choose({ mode, picture, view, status, painting, tiles }, job) {
	if (status === 'error') return 'problem';
	if (mode === 'batch') return 'batch';
	if (mode === 'compare' && tiles.length) return 'grid';
	if (mode === 'edit' && job && view === 'result') return job.status === 'succeeded' ? 'compare' : 'work';
	if (!picture) return 'zone';
	return painting ? 'mask' : 'plain';
}

const ratio = (frame, { width, height }) => frame.style.setProperty('--ratio', width / height);

async function showResult(job, sources) {
	try {
		const [after, before] = await Promise.all([stagePictures.url(job.id, 'result'), sources.get(job.id) ?? stagePictures.url(job.id, 'input').catch(() => null)]);
		if (shown.job?.id !== job.id) return;
		const { input, output } = job;
		const resized = input && Math.abs(input.width / input.height - output.width / output.height) > 0.01;
		Object.assign(bodies.compare, { after, before: resized ? null : before, size: output, alt: `After: ${job.prompt ?? job.operation.replaceAll('_', ' ')}` });
	} catch (error) {
		if (shown.job?.id !== job.id) return;
		if ([404, 410].includes(error.status)) emit('picture-gone', { id: job.id });
		else setTimeout(showResult, AGAIN_MS, job, sources);
	}
}

const FILL = {
	plain({ picture }) {
		if (plainPicture.src !== picture.url) plainPicture.src = picture.url;
		plainPicture.alt = picture.name;
		ratio(bodies.plain.firstElementChild, picture);
	},
	mask: ({ picture, mask, tool: held, brush, maskVisible }) => Object.assign(bodies.mask, { image: picture, mask, tool: held, size: brush, visible: maskVisible }),
	compare({ sources }, job) {
		if (shown.job?.id !== job.id || shown.job.status !== 'succeeded') {
			Object.assign(bodies.compare, { before: null, after: null, position: 46 });
			showResult(job, sources);
		}
		bodies.compare.simulated = job.simulated;
		shown.job = job;
	},
	work(state, job) {
		const before = shown.job;
		shown.job = job;
		const url = state.sources.get(job.id);
		if (url) workPicture.src = url;
		else if (before?.id !== job.id) {
			workPicture.removeAttribute('src');
			if (job.input) stagePictures.url(job.id, 'input').then((found) => shown.job.id === job.id && (workPicture.src = found), () => {});
		}
		ratio(bodies.work.firstElementChild, job.input ?? state.picture ?? { width: 4, height: 3 });
		const over = ended(job);
		const told = over ? failure(job) : null;
		shown.other = over ? nextModel(job, state) : null;
		text(workWords, over ? told.title : progressWords(job));
		text(workMore, over ? told.words : state.names.get(job.model) ?? '');
		workTrack.hidden = stop.hidden = over;
		workTrack.show(fraction(job, state.now || Date.now()));
		again.hidden = !told?.retryable;
		other.hidden = !shown.other;
		text(other, `Use ${shown.other?.name}`);
	},
	grid: ({ tiles, models, picture, original, now }) => Object.assign(bodies.grid, { tiles, models, source: picture?.url ?? null, original, now }),
	batch: ({ batchPictures, batch, batchJobs, batchSources, sending }) => Object.assign(bodies.batch, { pictures: batchPictures, batch, jobs: batchJobs, sources: batchSources, sending }),
};
