/** The server's list of edits and batches; rows stay where they are while one scrolls. */

import { attribute, define, h, icon, keyed, outlined, Part, progress, sign, text } from '../lib/element.js';
import { ago, batchWords, byAge, charged, fraction, progressWords } from '../jobs.js';
import { ended } from '../live.js';
import { showWhenSeen } from '../pictures.js';

const dayOf = (time) => new Date(time).toDateString();

class JobList extends Part {
	/** batches: id → batch; names: model id → name; more: whether there are older ones; sources: job id → object URL of its picture */
	static props = { jobs: [], batches: new Map(), names: new Map(), current: null, more: false, loading: false, sources: new Map(), now: 0 };

	#shown = 0;

	build() {
		this.list = h('div', { role: 'list' });
		this.none = h('p.quiet.empty', 'Your edits appear here. They keep running when you switch modes.');
		this.older = outlined('Show older ones', () => this.emit('more'));
		this.append(this.none, this.list, h('div.empty', this.older));
		this.seen = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && this.more && !this.loading && this.emit('more'), { root: this, rootMargin: '120px' });
		this.seen.observe(this.older);
	}

	update() {
		const items = [];
		let day = dayOf(Date.now());
		for (const item of [...this.jobs, ...this.batches.values()].sort(byAge)) {
			if (dayOf(item.created_at) !== day) {
				day = dayOf(item.created_at);
				items.push({ id: day, day: item.created_at });
			}
			items.push(item);
		}
		this.none.hidden = items.length > 0;
		this.older.hidden = !this.more;
		const make = (item) => (item.day ? this.#day(item) : item.object === 'batch' ? this.#batch(item) : this.#row(item));
		keyed(this.list, items, (item) => item.id, make, (row, item) => row.refresh?.(item));
		// Still in sight after a page came: the observer only tells of changes.
		if (items.length > this.#shown) {
			this.seen.unobserve(this.older);
			this.seen.observe(this.older);
		}
		this.#shown = items.length;
	}

	#day({ day }) {
		return h('div.day', { role: 'listitem' }, new Date(day).toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' }));
	}

	#frame(event, thumb, id, ...inside) {
		const parts = { open: h('button.open', { onclick: () => this.emit(event, { id }) }), name: h('strong.cut'), about: h('span.quiet.cut'), track: progress('') };
		attribute(parts.track, 'aria-hidden', 'true');
		const row = h('div.job', { role: 'listitem', data: { job: id } }, parts.open, thumb, h('div.words', parts.name, parts.about, parts.track), inside);
		const show = (title, words, part) => {
			text(parts.name, title);
			text(parts.about, words);
			attribute(parts.open, 'aria-label', `${title}, ${words}`);
			parts.track.hidden = part === undefined;
			parts.track.show(part ?? null);
		};
		return { row, show };
	}

	#batch({ id }) {
		const { row, show } = this.#frame('batch-open', h('span.thumb', icon('grid', 20)), id);
		row.refresh = (batch) => {
			const { over, rest, total, cost, status } = batchWords(batch);
			show(`Batch of ${total}`, rest ? `${status} · ${over} of ${total}` : `${status} · ${cost} · ${ago(batch.created_at, this.now || Date.now())}`, rest ? over / total : undefined);
		};
		return row;
	}

	#row({ id }) {
		const thumb = h('img.thumb', { alt: '' });
		const act = (name, event) => sign(name, '', () => this.emit(event, { id }));
		const [stop, again, remove] = [act('close', 'job-cancel'), act('again', 'job-retry'), act('trash', 'job-delete')];
		const acts = h('span.acts', stop, again, remove);
		const { row, show } = this.#frame('job-open', thumb, id, acts);
		row.refresh = (job) => {
			const over = ended(job);
			const now = this.now || Date.now();
			const title = this.names.get(job.model ?? job.requested_model) ?? job.model ?? (over ? 'No model' : 'Choosing a model');
			const words = !over ? progressWords(job) : job.status === 'succeeded' ? `${charged(job)} · ${ago(job.created_at, now)}` : `${job.status === 'failed' ? 'Failed' : 'Stopped'} · ${charged(job)}`;
			show(title, words, over ? undefined : fraction(job, now));
			attribute(row, 'data-current', id === this.current ? '' : null);
			attribute(row.firstChild, 'aria-current', id === this.current ? 'true' : null);
			for (const [control, label, on] of [[stop, 'Stop', !over], [again, 'Try again', over && job.status !== 'succeeded'], [remove, 'Delete', over]]) {
				control.hidden = !on;
				control.title = control.ariaLabel = `${label}: ${title}`;
			}
			acts.classList.toggle('stays', !over);
			const source = this.sources.get(id);
			if (job.status === 'succeeded') showWhenSeen(thumb, id, 'result');
			else if (source) thumb.src !== source && (thumb.src = source);
			else if (job.input) showWhenSeen(thumb, id, 'input');
		};
		return row;
	}
}
define('es-job-list', JobList);
