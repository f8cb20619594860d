// What keeps the house: tokens, freeze windows and the audit log, each at an address of its own.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import type { ComponentType } from "react";
import { session } from "../../api/queries";
import { NotThere } from "../NotThere";
import { Audit } from "./Audit";
import { Freezes } from "./Freezes";
import { Tokens } from "./Tokens";

interface Section {
  id: string;
  title: string;
  /** Whether only admins see it. */
  admins: boolean;
  Content: ComponentType;
}

const SECTIONS: Section[] = [
  { id: "tokens", title: "Tokens", admins: true, Content: Tokens },
  { id: "audit", title: "Audit log", admins: true, Content: Audit },
  { id: "freezes", title: "Freeze windows", admins: false, Content: Freezes },
];

export function AdminPage() {
  const { section } = useParams({ strict: false });
  const who = useQuery(session).data;
  if (!who) return null;
  const admin = who.grants.some((it) => it.role === "admin");
  const shown = SECTIONS.filter((it) => admin || !it.admins);
  const open = shown.find((it) => section === undefined || it.id === section);
  if (!open) return <NotThere />;
  return (
    <div className="space-y-4">
      <h1>Admin</h1>
      <nav aria-label="Admin" className="flex gap-1 overflow-x-auto border-b border-line">
        {shown.map(({ id, title }) => (
          <Link
            key={id}
            to="/admin/$section"
            params={{ section: id }}
            aria-current={id === open.id ? "page" : undefined}
            className="border-b-2 border-transparent px-3 py-2 text-sm whitespace-nowrap text-dim hover:no-underline aria-[current=page]:border-accent aria-[current=page]:font-semibold aria-[current=page]:text-ink"
          >
            {title}
          </Link>
        ))}
      </nav>
      <open.Content />
    </div>
  );
}
