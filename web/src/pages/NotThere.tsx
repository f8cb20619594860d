import { Link } from "@tanstack/react-router";

export function NotThere() {
  return (
    <div className="py-16 text-center">
      <h1>There is nothing here</h1>
      <p className="mt-2 text-dim">
        The address may be mistyped. <Link to="/">All apps</Link>
      </p>
    </div>
  );
}
