// What keeps the house: tokens and freeze windows.
import { useQuery } from "@tanstack/react-query";
import { Tab, TabList, TabPanel, Tabs } from "react-aria-components";
import { session } from "../../api/queries";
import { Freezes } from "./Freezes";
import { Tokens } from "./Tokens";

const TABS = [
  ["tokens", "Tokens"],
  ["freezes", "Freeze windows"],
] as const;

export function AdminPage() {
  const who = useQuery(session).data;
  const admin = who?.grants.some((it) => it.role === "admin") ?? false;
  const shown = TABS.filter(([id]) => admin || id === "freezes");
  if (!who) return null;
  return (
    <div className="space-y-4">
      <h1>Admin</h1>
      <Tabs key={shown.length} defaultSelectedKey={shown[0]?.[0]}>
        <TabList
          aria-label="Admin"
          className="mb-4 flex gap-1 overflow-x-auto border-b border-line"
        >
          {shown.map(([id, text]) => (
            <Tab
              key={id}
              id={id}
              className="cursor-pointer border-b-2 border-transparent px-3 py-2 text-sm whitespace-nowrap text-dim data-[selected]:border-accent data-[selected]:font-semibold data-[selected]:text-ink"
            >
              {text}
            </Tab>
          ))}
        </TabList>
        <TabPanel id="tokens">
          <Tokens />
        </TabPanel>
        <TabPanel id="freezes">
          <Freezes />
        </TabPanel>
      </Tabs>
    </div>
  );
}
