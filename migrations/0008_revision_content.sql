-- Why: an image reference does not say how a Deployment ran it. What a workload needs to run a revision
-- again as it was (a pod template, for instance) is kept with the revision, so that going back does not
-- depend on what the cluster has kept. NULL where the artifact says it all.

ALTER TABLE revision ADD COLUMN content jsonb;
