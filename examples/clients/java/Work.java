import com.google.protobuf.ByteString;
import hashmesh.v1.OutcomeOuterClass.Outcome;
import hashmesh.v1.OutcomeOuterClass.OutcomeStatus;
import hashmesh.v1.TaskOuterClass.Task;
import hashmesh.v1.TaskOuterClass.TaskRows;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** What is submitted, and what its outcomes must be. */
final class Work {
    static final int BATCH_TASKS = 1000, BATCH_BYTES = 64 << 10; // No batch of ours has more. Count your own.

    final long tasks, batches;
    long succeeded;

    Work(long tasks) {
        this.tasks = tasks;
        this.batches = (tasks + BATCH_TASKS - 1) / BATCH_TASKS;
    }

    /** The tasks of a batch, always the same. */
    TaskRows batch(long sequence) {
        var rows = TaskRows.newBuilder();
        for (long number = sequence * BATCH_TASKS; number < Math.min((sequence + 1) * BATCH_TASKS, tasks); number++) {
            rows.addTasks(Task.newBuilder().setName("task-" + number).setData(ByteString.copyFromUtf8("task " + number)));
        }
        return rows.build();
    }

    /** Whether an outcome is that of one of our tasks, and its digest, if it has one, is right. */
    boolean right(Outcome outcome) throws NoSuchAlgorithmException {
        long number = (long) outcome.getSequence() * BATCH_TASKS + outcome.getTask();
        if (!outcome.getName().equals("task-" + number)) return false;
        if (outcome.getStatus() != OutcomeStatus.OUTCOME_STATUS_SUCCEEDED) return true;
        succeeded++;
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(("task " + number).getBytes());
        return outcome.getDigests(0).getHex().equals(HexFormat.of().formatHex(digest));
    }
}
