// Pause, resume, stop: what may be asked of the run in its present state.

import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Key } from '../strings';
import { Icon } from './icons';
import type { PanelModel } from './model';

type Props = { model: PanelModel };

interface ButtonProps {
  model: PanelModel;
  label: Key;
  icon: string;
  onPress: () => void;
  isPlain?: boolean;
}

/** A button that says why it can't be used just now; it stays in the order of the Tab key. */
export function CommandButton({ model, label, icon, onPress, isPlain }: ButtonProps): JSX.Element {
  const whyNot = model.whyNot.value;
  const reason = whyNot === null ? undefined : model.t(`reason.${whyNot}`);
  return (
    <button
      type="button"
      class={`nba-button ${isPlain ? 'nba-plain' : ''}`}
      aria-disabled={reason !== undefined}
      title={reason}
      onClick={() => {
        if (reason === undefined) onPress();
      }}
    >
      <Icon name={icon} />
      {model.t(label)}
    </button>
  );
}

export function Buttons({ model }: Props): JSX.Element {
  const isAsking = useSignal(false);
  const { header } = model.state.value;
  const { state } = header;
  const send = (type: string) => model.actions.command({ type });
  const canStop = state === 'running' || state === 'paused' || state === 'queued';
  if (isAsking.value && canStop && model.whyNot.value === null) {
    return (
      <StopQuestion
        model={model}
        onAnswer={(isYes) => {
          isAsking.value = false;
          if (isYes) send('Stop');
        }}
      />
    );
  }
  return (
    <div class="nba-buttons">
      <NoticeLine model={model} />
      {state === 'interrupted' && (
        <span class="nba-hint">
          {model.t('hint.resume')} <code>%automl resume {header.name}</code>
        </span>
      )}
      {state === 'running' && (
        <CommandButton model={model} label="button.pause" icon="pause" onPress={() => send('Pause')} />
      )}
      {state === 'paused' && (
        <CommandButton model={model} label="button.resume" icon="play" onPress={() => send('Resume')} />
      )}
      {canStop && (
        <CommandButton
          model={model}
          label="button.stop"
          icon="stop"
          onPress={() => {
            isAsking.value = true;
          }}
        />
      )}
    </div>
  );
}

function StopQuestion({
  model,
  onAnswer,
}: {
  model: PanelModel;
  onAnswer: (isYes: boolean) => void;
}): JSX.Element {
  const first = useRef<HTMLButtonElement>(null);
  useEffect(() => first.current?.focus(), []);
  return (
    <div
      class="nba-buttons nba-question"
      role="group"
      aria-label={model.t('stop.ask')}
      onKeyDown={(event) => {
        if (event.key === 'Escape') onAnswer(false);
      }}
    >
      <span>{model.t('stop.ask')}</span>
      <button type="button" class="nba-button nba-danger" onClick={() => onAnswer(true)}>
        {model.t('stop.yes')}
      </button>
      <button type="button" class="nba-button" ref={first} onClick={() => onAnswer(false)}>
        {model.t('stop.no')}
      </button>
    </div>
  );
}

/** What became of the last command; read out by screen readers. */
function NoticeLine({ model }: Props): JSX.Element {
  const notice = model.notice.value;
  let text = '';
  if (notice?.kind === 'sent') text = model.t('command.sent');
  if (notice?.kind === 'slow') text = model.t('command.slow');
  if (notice?.kind === 'failed') text = model.t('command.failed', { text: notice.text });
  return (
    <span class={`nba-notice ${notice?.kind === 'failed' ? 'nba-bad' : ''}`} role="status">
      {text}
    </span>
  );
}
