/** A tile for each model, filled as its edit ends. Hold it, or O, to see the original. */

import { button, define, h, keyed, outlined, Part, progress, text } from '../lib/element.js';
import { charged, failure, fraction, progressWords, took } from '../jobs.js';
import { ended } from '../live.js';
import { stagePictures } from '../pictures.js';
import { byId, secondsLabel } from '../models.js';
import { mark } from '../parts/model-card.js';

function course({ job, fault }) {
	if (fault) return { title: 'Could not be sent', words: fault, retryable: true };
	if (!job) return { title: 'Sending' };
	if (!ended(job)) return { title: progressWords(job) };
	return job.status === 'succeeded' ? { good: true } : failure(job);
}

class CompareGrid extends Part {
	/** tiles: {key, modelId, job|null, fault}[]; source: object URL of the picture */
	static props = { tiles: [], models: [], source: null, original: false, now: 0 };

	build() {
		this.grid = h('div.tiles', { role: 'list', label: 'Results by model' });
		this.append(this.grid);
	}

	update() {
		const done = this.tiles.map(({ job }) => job).filter((job) => job?.status === 'succeeded');
		const all = this.tiles.every(({ job, fault }) => fault || (job && ended(job)));
		const least = (value) => {
			const values = done.map(value);
			const best = Math.min(...values);
			return new Set(all && values.some((one) => one !== best) ? done.filter((job) => value(job) === best).map((job) => job.id) : []);
		};
		this.marks = [['Cheapest', least((job) => job.cost.actual)], ['Fastest', least(took)]];
		keyed(this.grid, this.tiles, (tile) => tile.key, (tile) => this.#make(tile), (element, tile) => element.refresh(tile));
	}

	#make({ key, modelId }) {
		const model = byId(this.models, modelId);
		const emit = (event) => () => this.emit(event, { key });
		const picture = h('img', { alt: '' });
		const open = h('button.open', { label: `Open the result of ${model.name}`, title: 'Hold to see the original, open with a double click', ondblclick: emit('open') });
		const tags = h('span.tags');
		const words = h('span.quiet');
		const [doing, said, track] = [h('strong'), h('span'), progress(`Progress of ${model.name}`)];
		const again = button('again', 'Try again', emit('retry'), 'button.line');
		const pick = outlined('Use this', emit('pick'), { label: `Use ${model.name}` });
		const over = h('div.over', h('div.over-words', doing, said, track, again));
		const tile = h('div.tile', { role: 'listitem', data: { model: modelId } }, h('div.shot', picture, tags, over, open), h('div.foot', mark(model), h('div.words', h('strong.cut', model.name), words), pick));
		let held = false;
		let shown;
		const hold = (on) => () => held !== on && ((held = on), tile.refresh(shown));
		open.onpointerdown = hold(true);
		open.onpointerup = open.onpointerleave = open.onpointercancel = hold(false);
		open.onkeydown = (event) => event.key === 'Enter' && emit('open')();
		tile.refresh = (now) => {
			shown = now;
			const { job, fault } = now;
			const { good = false, title = '', words: why = '', retryable = false } = course(now);
			const failed = fault || (job && ended(job) && !good);
			tags.replaceChildren(...this.marks.filter(([, ids]) => ids.has(job?.id)).map(([label]) => h('span.tag.on-picture', label)));
			over.hidden = good;
			open.hidden = pick.hidden = !good;
			again.hidden = !retryable;
			track.hidden = Boolean(failed);
			text(doing, title);
			text(said, why);
			track.show(job ? fraction(job, this.now || Date.now()) : null);
			text(words, good ? `${charged(job)} · ${secondsLabel(took(job))}` : job && ended(job) ? charged(job) : '');
			const original = !good || held || this.original;
			picture.alt = original ? 'The original' : `Result of ${model.name}`;
			if (original) picture.src = this.source;
			else stagePictures.url(job.id, 'result').then((url) => url && shown.job?.id === job.id && !held && !this.original && picture.src !== url && (picture.src = url), () => {});
		};
		return tile;
	}
}
define('es-compare-grid', CompareGrid);
