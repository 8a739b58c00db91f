import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.EnumSet;
import java.util.Set;

/** A status. With a reason it is the mesh's own word, without one that of the transport, a proxy, or ours. */
final class MeshError extends Exception {
    /** What a connection that broke shows as, depending on the moment. The deadlines are our own. */
    static final Set<Code> BROKEN = EnumSet.of(Code.UNAVAILABLE, Code.UNKNOWN, Code.INTERNAL, Code.CANCELLED, Code.DEADLINE_EXCEEDED);
    final Code code;
    String reason = "";
    double retryAfter;

    MeshError(Status status) throws InvalidProtocolBufferException {
        super(status.getMessage());
        code = Code.forNumber(status.getCode());
        for (Any detail : status.getDetailsList()) {
            if (detail.is(ErrorInfo.class) && detail.unpack(ErrorInfo.class).getDomain().equals("hashmesh")) {
                reason = detail.unpack(ErrorInfo.class).getReason();
            } else if (detail.is(RetryInfo.class)) {
                var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                retryAfter = delay.getSeconds() + delay.getNanos() / 1e9;
            }
        }
    }

    MeshError(Code code, String message) throws InvalidProtocolBufferException {
        this(Status.newBuilder().setCode(code.getNumber()).setMessage(message).build());
    }

    static MeshError of(StatusRuntimeException failure) throws InvalidProtocolBufferException {
        var status = StatusProto.fromThrowable(failure);
        // What broke the connection is in the cause alone.
        var cause = failure.getCause() == null ? "" : ": " + failure.getCause().getMessage();
        return new MeshError(status.toBuilder().setMessage(status.getMessage() + cause).build());
    }

    /** True if the same call, or the same stream resumed, may succeed later. */
    boolean isTransient() {
        return reason.isEmpty() ? BROKEN.contains(code) : code == Code.UNAVAILABLE || retryAfter > 0;
    }

    @Override
    public String toString() {
        return (reason.isEmpty() ? code : reason) + ": " + getMessage();
    }
}
