/** Many pictures: what is to be sent, and how what was sent stands. */

import { attribute, button, define, h, keyed, outlined, Part, press, progress, sign, text } from '../lib/element.js';
import { batchWords, charged, failure, progressWords } from '../jobs.js';
import { ended } from '../live.js';
import { money } from '../cost.js';
import { showWhenSeen } from '../pictures.js';

const FILTERS = { all: 'All', waiting: 'Waiting', succeeded: 'Done', failed: 'Failed' };

class BatchView extends Part {
	/** pictures: {key, name, url}[] not sent yet; batch: the service's, or null; jobs: its items; sources: job id → object URL */
	static props = { pictures: [], batch: null, jobs: [], sources: new Map(), sending: '' };

	#filter = 'all';

	build() {
		this.heading = h('strong');
		this.about = h('span.quiet.grow');
		this.track = progress('Progress of the batch');
		const act = (words, event) => outlined(words, () => this.emit(event));
		const main = (picture, words, event) => button(picture, words, () => this.emit(event), 'button.main');
		this.acts = { release: main('right', '', 'release'), stop: act('Stop', 'stop'), retry: act('Retry failed', 'retry-failed'), archive: main('download', 'Download all', 'archive'), fresh: act('New batch', 'fresh'), add: act('Add pictures', 'picture-replace') };
		this.pills = Object.entries(FILTERS).map(([id, label]) => h('button.pill', { data: { filter: id }, onclick: () => ((this.#filter = id), this.update()) }, label));
		this.filters = h('div.row', { role: 'group', label: 'Show' }, this.pills);
		this.head = h('div.batch-head', this.heading, this.about, Object.values(this.acts), this.track);
		this.tiles = h('div.batch-tiles', { role: 'list', tabIndex: 0, label: 'Pictures of the batch' });
		this.none = h('p.empty', { role: 'status' });
		this.zone = h('es-drop-zone.grow', { multiple: true });
		this.append(this.head, this.filters, this.zone, this.none, this.tiles);
	}

	update() {
		const { batch, pictures } = this;
		const empty = !batch && !pictures.length;
		this.zone.hidden = !empty;
		this.head.hidden = this.tiles.hidden = empty;
		this.filters.hidden = !batch;
		this.none.hidden = true;
		if (batch) this.#showBatch(batch);
		else this.#showDraft(pictures);
	}

	#offer(...names) {
		for (const [name, control] of Object.entries(this.acts)) control.hidden = !names.includes(name);
	}

	#showDraft(pictures) {
		text(this.heading, `${pictures.length} ${pictures.length === 1 ? 'picture' : 'pictures'}`);
		text(this.about, this.sending || 'Drop more at any time. Nothing is uploaded before you run.');
		this.#offer(!this.sending && 'add');
		this.track.hidden = !this.sending;
		this.track.show(null);
		keyed(this.tiles, pictures, (one) => one.key, (one) => this.#draft(one));
	}

	#draft({ key, name, url }) {
		const remove = sign('close', `Remove ${name}`, () => this.emit('remove', { key }));
		return h('div.tile', { role: 'listitem' }, h('div.shot', h('img', { src: url, alt: '', loading: 'lazy', decoding: 'async' })), h('div.foot', h('div.words.cut', name), remove));
	}

	#showBatch(batch) {
		const { over, rest, total, failed, succeeded, cost, status } = batchWords(batch);
		const { actual, estimated } = batch.cost;
		const held = batch.status === 'held';
		const part = batch.eta_s && (batch.eta_s < 90 ? `${Math.ceil(batch.eta_s)} s` : `${Math.ceil(batch.eta_s / 60)} min`);
		text(this.heading, batch.held_reason === 'canary' ? `${over} are ready. Look at them.` : status);
		text(this.about, `${over} of ${total}${failed ? `, ${failed} failed` : ''} · ${cost}${part ? ` · about ${part} left` : ''}`);
		this.track.hidden = false;
		this.track.show(over / Math.max(1, total));
		// The first ones tell more than what was thought before.
		const each = succeeded && actual ? actual / succeeded : estimated / Math.max(1, total);
		text(this.acts.release.lastChild, `Run the other ${rest} · ${money(each * rest)}`);
		this.#offer(held && 'release', (held || batch.status === 'running') && 'stop', !rest && failed && 'retry', !rest && succeeded && 'archive', !rest && 'fresh');
		for (const pill of this.pills) press(pill, pill.dataset.filter === this.#filter);
		const filter = this.#filter;
		const shown = this.jobs.filter((job) => filter === 'all' || (filter === 'waiting' ? !ended(job) : job.status === filter));
		// What failed stands first: it needs somebody.
		const order = (job) => (job.status === 'failed' ? 0 : 1);
		keyed(this.tiles, [...shown].sort((a, b) => order(a) - order(b)), (job) => job.id, (job) => this.#tile(job), (tile, job) => tile.refresh(job));
		this.none.hidden = shown.length > 0;
		text(this.none, this.jobs.length ? 'No picture of this batch stands so.' : 'Looking at the pictures of the batch.');
	}

	#tile({ id, custom_id: name }) {
		const picture = h('img', { alt: '', decoding: 'async' });
		const words = h('span.quiet.cut');
		const open = h('button.open', { onclick: () => this.emit('job-open', { id }) });
		const title = h('div.cut', name?.replace(/^\d+-/, '') || id);
		const tile = h('div.tile', { role: 'listitem', data: { job: id } }, h('div.shot', picture, open), h('div.foot', h('div.words', title, words)));
		tile.refresh = (job) => {
			const held = job.status === 'queued' && this.batch?.status === 'held';
			const failed = job.status === 'failed';
			text(words, held ? 'Waits for you' : failed ? failure(job).words : ended(job) ? (job.status === 'canceled' ? 'Stopped' : charged(job)) : progressWords(job));
			words.classList.toggle('fault', failed);
			words.title = failed ? words.textContent : '';
			attribute(open, 'aria-label', `${title.textContent}, ${words.textContent}`);
			const source = this.sources.get(id);
			if (job.status === 'succeeded') showWhenSeen(picture, id, 'result');
			else if (source) picture.src !== source && (picture.src = source);
			else if (job.input) showWhenSeen(picture, id, 'input');
		};
		return tile;
	}
}
define('es-batch', BatchView);
