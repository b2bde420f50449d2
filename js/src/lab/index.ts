// The JupyterLab extension: outputs that show runs are rendered by our panel, live in notebooks.

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import { type INotebookModel, INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { type IRenderMime, IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator } from '@jupyterlab/translation';
import { MIME } from '../protocol';
import { Hub } from '../session/hub';
import { languageOf, pageLanguage } from '../strings';
import { KernelTransport, NoTransport } from './comms';
import { type RendererOptions, RunRenderer } from './renderer';
import { Writer } from './writing';

/** Before text/html, whose rank is 50. */
const RANK = 10;

type Context = DocumentRegistry.IContext<INotebookModel>;

function factoryOf(options: RendererOptions): IRenderMime.IRendererFactory {
  // Safe: a snapshot is data, and all of it is shown as text.
  return { safe: true, mimeTypes: [MIME], createRenderer: () => new RunRenderer(options) };
}

/** What the panels of one document share: views of a notebook come and go, its link stays. */
class DocumentLink {
  readonly options: RendererOptions;

  constructor(context: Context, language: 'en' | 'zh') {
    const transport = new KernelTransport(context.sessionContext, (message) => hub.receive(message));
    const hub = new Hub(transport);
    const writer = new Writer(context, hub);
    this.options = { hub, language, onSession: (session) => writer.watch(session) };
    context.disposed.connect(() => {
      writer.dispose();
      hub.dispose();
    });
  }
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'nbautoml:renderer',
  description: 'Shows the runs of nbautoml.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  // Notebook 7 has no status bar and consoles no tracker: nothing more is needed than is there.
  optional: [INotebookTracker, ITranslator],
  activate: (
    _app: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    tracker: INotebookTracker | null,
    translator: ITranslator | null,
  ) => {
    const code = translator?.languageCode;
    const language = code && code !== 'en' && code !== 'default' ? languageOf(code) : pageLanguage();
    rendermime.addFactory(factoryOf({ hub: new Hub(new NoTransport()), language }), RANK);

    const links = new WeakMap<Context, DocumentLink>();
    const adopt = (panel: NotebookPanel): void => {
      let link = links.get(panel.context);
      if (!link) {
        link = new DocumentLink(panel.context, language);
        links.set(panel.context, link);
      }
      // The notebook's own registry: its renderers know which kernel is theirs.
      panel.content.rendermime.addFactory(factoryOf(link.options), RANK);
    };
    tracker?.widgetAdded.connect((_, panel) => adopt(panel));
    tracker?.forEach(adopt);
  },
};

export default plugin;
