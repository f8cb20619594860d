// What happened, newest first: who and why.
import type { Schemas } from "../../api/client";
import { moment } from "../../time";
import { Empty } from "../../ui/parts";

export function Timeline({ rows }: { rows: Schemas["TransitionView"][] }) {
  if (rows.length === 0) return <Empty>Nothing has happened yet.</Empty>;
  return (
    <ol className="text-sm">
      {[...rows].reverse().map((it) => (
        <li
          key={it.seq}
          className="grid grid-cols-[auto_1fr] gap-x-3 border-l-2 border-line py-1 pl-3 sm:grid-cols-[9.5rem_1fr_auto]"
        >
          <time
            dateTime={it.at}
            className="text-xs leading-5 whitespace-nowrap text-dim tabular-nums"
          >
            {moment(it.at)}
          </time>
          <span className="min-w-0 break-words">{it.sentence}</span>
          <span className="col-start-2 text-xs leading-5 text-dim sm:col-start-3">{it.by}</span>
        </li>
      ))}
    </ol>
  );
}
