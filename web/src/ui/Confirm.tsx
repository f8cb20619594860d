// Asks before something is done, and says what will happen.
import { type ReactNode, useState } from "react";
import { Dialog, DialogTrigger, Heading, Modal, ModalOverlay } from "react-aria-components";
import { Button, Failure, INPUT } from "./parts";

interface Props {
  /** What opens it. */
  trigger: string;
  icon?: ReactNode;
  look?: "main" | "plain" | "danger";
  title: string;
  /** What will happen. */
  effect: ReactNode;
  /** What the button that does it says. */
  does: string;
  /** Whether a reason may, or must, be given. */
  comment?: "optional" | "required" | "none";
  disabled?: boolean;
  whyNot?: string | null;
  act: (comment: string) => Promise<unknown>;
  /** Told when the dialog opens and when it closes. */
  onOpenChange?: (open: boolean) => void;
  children?: ReactNode;
}

export function Confirm({ comment = "optional", look = "plain", ...it }: Props) {
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const missing = comment === "required" && text.trim() === "";
  async function act(close: () => void) {
    setBusy(true);
    setError(undefined);
    try {
      await it.act(text.trim());
      setText("");
      close();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }
  return (
    <DialogTrigger
      onOpenChange={(open) => {
        setError(undefined);
        it.onOpenChange?.(open);
      }}
    >
      <Button look={look} isDisabled={it.disabled}>
        {it.icon}
        {it.trigger}
      </Button>
      <ModalOverlay
        isDismissable={!busy}
        className="fixed inset-0 z-20 flex items-end justify-center bg-black/45 p-3 sm:items-center"
      >
        <Modal className="w-full max-w-md rounded-xl border border-line bg-card p-5 shadow-xl">
          <Dialog className="outline-none">
            {({ close }) => (
              <form
                className="space-y-4"
                onSubmit={(event) => {
                  event.preventDefault();
                  if (!missing && !busy) void act(close);
                }}
              >
                <Heading slot="title" className="text-lg font-semibold">
                  {it.title}
                </Heading>
                <div className="text-sm text-dim">{it.effect}</div>
                {it.children}
                {comment !== "none" && (
                  <label className="block text-sm">
                    <span className="mb-1 block font-medium">
                      {comment === "required" ? "Reason" : "Comment (optional)"}
                    </span>
                    <textarea
                      className={`${INPUT} w-full`}
                      rows={2}
                      maxLength={1000}
                      value={text}
                      onChange={(event) => setText(event.target.value)}
                    />
                  </label>
                )}
                <Failure error={error} />
                <div className="flex flex-wrap justify-end gap-2">
                  <Button onPress={close} isDisabled={busy}>
                    Leave it
                  </Button>
                  <Button
                    type="submit"
                    look={look === "plain" ? "main" : look}
                    isDisabled={busy || missing}
                  >
                    {it.does}
                  </Button>
                </div>
              </form>
            )}
          </Dialog>
        </Modal>
      </ModalOverlay>
    </DialogTrigger>
  );
}
